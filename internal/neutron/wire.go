package neutron

import (
	"encoding/json"
	"strconv"
	"time"
)

// The append functions write JSON. They exist because a list of a thousand ports is
// answered in a few milliseconds this way; a test holds them to encoding/json.

func appendBool(b []byte, v bool) []byte { return strconv.AppendBool(b, v) }

func appendInt(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }

// appendString writes s quoted and escaped.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return appendJSON(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendText writes what prints itself in plain ASCII, such as an address.
func appendText(b []byte, t interface{ String() string }) []byte {
	b = append(b, '"')
	b = append(b, t.String()...)
	return append(b, '"')
}

// appendTextOrNull writes an empty string as null.
func appendTextOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}

// appendTime writes a time as Neutron does: UTC, whole seconds.
func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
	return append(b, '"')
}

// appendList writes a list with one append function per element; an empty one is [].
func appendList[T any](b []byte, list []T, one func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, e := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, e)
	}
	return append(b, ']')
}

// appendJSON writes any value by encoding/json. Values come from decoded JSON or from
// strings, which always encode.
func appendJSON(b []byte, v any) []byte {
	enc, err := json.Marshal(v)
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, enc...)
}
