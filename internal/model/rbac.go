package model

// Actions of RBAC policies: what a policy lets its target do with the object.
const (
	AccessAsShared   = "access_as_shared"
	AccessAsExternal = "access_as_external"
)

// AllProjects is the target of an RBAC policy that is for everybody.
const AllProjects = ProjectID("*")

// RBACPolicy lets a project, or all, use an object that belongs to another. That an
// object is shared with all is also said by the object itself (Shared, External).
type RBACPolicy struct {
	ID      string    `json:"id"`
	Project ProjectID `json:"project"`
	// ObjectType is Neutron's name of a kind of object, which is the Kind of it, too.
	ObjectType string    `json:"object_type"`
	ObjectID   string    `json:"object_id"`
	Action     string    `json:"action"`
	Target     ProjectID `json:"target"`
	Meta
}

// AutoTopology is what a project got without asking for its parts.
type AutoTopology struct {
	Project   ProjectID `json:"project"`
	NetworkID NetworkID `json:"network_id"`
	RouterID  RouterID  `json:"router_id"`
}
