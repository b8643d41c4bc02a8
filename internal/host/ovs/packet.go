package ovs

import (
	"context"
	"fmt"

	"weft/internal/host/openflow"
)

// Send has a bridge put a frame out at one of its ports. It returns when the bridge has done it, which does not say
// that anybody has received it.
func (s *Switch) Send(ctx context.Context, bridge string, port uint32, frame []byte) error {
	c := s.connOf(bridge)
	if c == nil {
		return fmt.Errorf("bridge %s: %w", bridge, ErrNotConnected)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out := &openflow.PacketOut{BufferID: openflow.NoBuffer, InPort: openflow.PortController, Actions: []openflow.Action{openflow.Output{Port: port}}, Data: frame}
	a, err := c.call(ctx, 0, 128+len(frame), func(int, uint32) openflow.Message { return out }, 1)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", bridge, err)
	}
	for _, e := range a.errs {
		return fmt.Errorf("bridge %s: %w", bridge, e)
	}
	return nil
}
