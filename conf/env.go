package conf

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
)

// environment picks the settings out of the environment, by key. A variable
// that starts like a setting and is none is a problem: it was meant to be one.
func environment(env []string, known []setting, kind Kind) (vars map[string]string, problems Errors) {
	vars = map[string]string{}
	slices.Sort(env) // problems in an order that a test can state
	for _, line := range env {
		name, value, _ := strings.Cut(line, "=")
		if runtime.GOOS == "windows" {
			name = strings.ToUpper(name) // names have no case there
		}
		if !strings.HasPrefix(name, EnvPrefix) {
			continue
		}
		if path, reason := lookupEnv(name, known, kind); reason != "" {
			problems.addf(name, "%s", reason)
		} else {
			vars[path] = value
		}
	}
	return vars, problems
}

// lookupEnv finds the key of a variable, or says why there is none.
func lookupEnv(name string, known []setting, kind Kind) (path, reason string) {
	var names []string
	for _, k := range known {
		if strings.Contains(k.path, "[]") {
			continue
		}
		if envName(k.path) == name {
			if !k.env {
				return "", fmt.Sprintf("%s cannot be given in the environment, only in the file", k.path)
			}
			return k.path, ""
		}
		if k.env {
			names = append(names, envName(k.path))
		}
	}
	other, otherKind := settings(reflect.TypeFor[Server](), "", true), KindServer
	if kind == KindServer {
		other, otherKind = settings(reflect.TypeFor[Client](), "", true), KindClient
	}
	for _, k := range other {
		if k.env && envName(k.path) == name {
			return "", fmt.Sprintf("%s is a setting of the %s, not of the %s", k.path, otherKind, kind)
		}
	}
	reason = "unknown environment variable"
	if near := Nearest(name, names); near != "" {
		reason += ", did you mean " + near + "?"
	}
	return "", reason
}
