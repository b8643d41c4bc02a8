package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"weft/internal/model"
)

// fault is an answer that is not a success, in Keystone's form.
type fault struct {
	Status  int
	Message string
}

func (f fault) Error() string { return f.Message }

// The faults without parameters.
var (
	faultUnauthorized = fault{http.StatusUnauthorized, "The request you have made requires authentication."}
	faultNoRoute      = fault{http.StatusNotFound, "The resource could not be found."}
	faultMethod       = fault{http.StatusMethodNotAllowed, "The method is not allowed for the requested URL."}
	faultTooLarge     = fault{http.StatusRequestEntityTooLarge, "Request is too large."}
	faultInternal     = fault{http.StatusInternalServerError, "An unexpected error prevented the server from fulfilling your request."}
	faultNoService    = fault{http.StatusServiceUnavailable, "The store is unavailable."}
	faultConflicts    = fault{http.StatusServiceUnavailable, "Too many concurrent changes."}
	faultBusy         = fault{http.StatusServiceUnavailable, "Too many passwords are waiting to be checked; try again later."}
	faultNoGroups     = fault{http.StatusNotImplemented, "The built-in identity of weft has no groups: give roles to users."}
)

// invalid is a body or query that cannot be.
func invalid(format string, args ...any) fault {
	return fault{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// invalidField is a value that its field does not take.
func invalidField(field, reason string) fault {
	return invalid("Invalid input for field '%s': %s", field, reason)
}

// lacks is something that must be there and is not.
func lacks(attribute, target string) fault {
	return invalid("Expecting to find %s in %s. The server could not comply with the request since it is either malformed"+
		" or otherwise incorrect. The client is assumed to be in error.", attribute, target)
}

func forbidden(action string) fault {
	return fault{http.StatusForbidden, "You are not authorized to perform the requested action: " + action + "."}
}

func notFound(noun, id string) fault {
	return fault{http.StatusNotFound, fmt.Sprintf("Could not find %s: %s.", noun, id)}
}

func noAssignment(a *model.Assignment) fault {
	on := "system"
	switch t := a.Target; {
	case t.Project != "":
		on = string(t.Project)
	case t.Domain != "":
		on = string(t.Domain)
	}
	return fault{http.StatusNotFound, fmt.Sprintf("Could not find role assignment with role: %s, user or group: %s,"+
		" project, domain, or system: %s.", a.RoleID, a.UserID, on)}
}

// duplicate is a name that is taken; domain is empty for what lies in none.
func duplicate(noun, name, domain string) fault {
	detail := "Duplicate entry found with name " + name
	if domain != "" {
		detail += " at domain ID " + domain
	}
	return fault{http.StatusConflict, fmt.Sprintf("Conflict occurred attempting to store %s - %s.", noun, detail)}
}

// refusal is a login that failed. The client is told less: faultUnauthorized.
type refusal struct{ why, user string }

func (e refusal) Error() string { return "login refused: " + e.why }

// faultOf says how an error is answered, and whether it was foreseen.
func faultOf(err error) (fault, bool) {
	var f fault
	if errors.As(err, &f) {
		return f, true
	}
	if errors.As(err, &refusal{}) {
		return faultUnauthorized, true
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return faultTooLarge, true
	}
	var m model.Fault
	if errors.As(err, &m) && m.Kind == model.Unavailable {
		return faultNoService, true
	}
	return faultInternal, false
}

// writeFault sends a fault.
func writeFault(w http.ResponseWriter, f fault) {
	type body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Title   string `json:"title"`
	}
	// Three fields of text cannot fail to encode.
	b, _ := json.Marshal(map[string]body{"error": {f.Status, f.Message, http.StatusText(f.Status)}})
	write(w, f.Status, b)
}
