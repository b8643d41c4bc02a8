package model

// Quota is what a project may have at most, where that differs from the default.
type Quota struct {
	Project ProjectID `json:"project"`
	// Limits are by resource: "network", "port"; below 0 is no limit.
	Limits map[string]int `json:"limits"`
}
