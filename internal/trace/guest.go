package trace

// guest judges what the guest sends.
func (e *explainer) guest() Step { return Step{Name: StepGuest} }
