package conf

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestReadmeListsEverySetting keeps the README's tables whole.
func TestReadmeListsEverySetting(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, ty := range []reflect.Type{reflect.TypeFor[Client](), reflect.TypeFor[Server]()} {
		known := settings(ty, "", true)
		for _, k := range known {
			if !isSectionName(k.path, known) && !strings.Contains(string(readme), "`"+k.path+"`") {
				t.Errorf("README.md does not have %s of %v", k.path, ty)
			}
		}
	}
}
