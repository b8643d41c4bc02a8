package ovs

import (
	"context"
	"fmt"

	"weft/internal/host/openflow"
)

// FlushZones makes the datapath of a bridge forget every connection of these conntrack
// zones, and returns when it has.
func (s *Switch) FlushZones(ctx context.Context, bridge string, zones []uint16) error {
	c := s.connOf(bridge)
	if c == nil {
		return fmt.Errorf("bridge %s: %w", bridge, ErrNotConnected)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := c.call(ctx, 0, 32*len(zones), func(i int, _ uint32) openflow.Message { return &openflow.FlushZone{Zone: zones[i]} }, len(zones))
	if err != nil {
		return fmt.Errorf("bridge %s: %w", bridge, err)
	}
	for _, e := range a.errs {
		return fmt.Errorf("bridge %s: %w", bridge, e)
	}
	return nil
}
