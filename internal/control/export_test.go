package control

import "context"

// FailOver is a pass of RunDHCP in which dead hosts lose their DHCP ports.
func (c *Control) FailOver(ctx context.Context) { c.ensureAllDHCP(ctx, true) }
