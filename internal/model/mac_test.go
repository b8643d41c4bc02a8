package model

import "testing"

func TestParseMAC(t *testing.T) {
	for in, want := range map[string]string{
		"fa:16:3e:7b:71:0b": "fa:16:3e:7b:71:0b",
		"FA-16-3E-7B-71-0B": "fa:16:3e:7b:71:0b",
		"fa16.3e7b.710b":    "fa:16:3e:7b:71:0b",
		"fa163e7b710b":      "fa:16:3e:7b:71:0b",
		"":                  "",
		"fa:16:3e:7b:71":    "",
		"fa:16:3e:7b:71:0g": "",
		"fa:16-3e:7b:71:0b": "",
		"fa:163:e7b:71:0b:": "",
	} {
		m, err := ParseMAC(in)
		if want == "" {
			if err == nil {
				t.Errorf("ParseMAC(%q) = %v, want an error", in, m)
			}
			continue
		}
		if err != nil || m.String() != want {
			t.Errorf("ParseMAC(%q) = %v, %v; want %s", in, m, err, want)
		}
	}
}
