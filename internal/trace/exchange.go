package trace

// exchange judges what becomes of the packets of a DHCP exchange: by the records, and by the
// switches of both hosts.
func (e *explainer) exchange() []Step { return nil }
