package control

import (
	"context"

	"weft/internal/model"
)

// FailOver is a pass of RunDHCP in which dead hosts lose their DHCP ports.
func (c *Control) FailOver(ctx context.Context) { c.ensureAllDHCP(ctx, true) }

// RefusedSize is how many refusals are kept.
const RefusedSize = refusedSize

// KeepRefused writes one down.
func (c *Control) KeepRefused(ctx context.Context, f model.Refusal) error {
	return c.keepRefused(ctx, f)
}
