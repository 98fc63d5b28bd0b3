package status

import (
	"fmt"
	"strings"
)

// compareReleases says in words how the release of the other half fits ours; "" if it is the
// same, or one of them is not known. who is the other half.
func compareReleases(who, theirs, ours string) string {
	switch {
	case theirs == "" || ours == "" || theirs == ours:
		return ""
	case major(theirs) != "" && major(ours) != "" && major(theirs) != major(ours):
		return fmt.Sprintf("%s is release %s and this half %s: they may not understand each other; upgrade the older one", who, theirs, ours)
	}
	return fmt.Sprintf("%s is release %s and this half %s: they work together; upgrade the older one when there is time", who, theirs, ours)
}

// major is what a release begins with, and has to have in common with another that it
// understands: 1 of v1.2.3; "" of a version that is none.
func major(release string) string {
	first, _, dotted := strings.Cut(strings.TrimPrefix(release, "v"), ".")
	if !dotted || strings.Trim(first, "0123456789") != "" {
		return ""
	}
	return first
}

// CompareReleases adds the warnings about releases that differ. Clients of the same
// one share a line.
func (s *Status) CompareReleases() {
	if s.Session != nil {
		if w := compareReleases("the server", s.Session.Version, s.Version); w != "" {
			s.Warnings = append(s.Warnings, w)
		}
	}
	who := make(map[string][]string) // names by release
	var order []string
	for i := range s.Clients {
		c := &s.Clients[i]
		if c.Version == "" {
			continue
		}
		if who[c.Version] == nil {
			order = append(order, c.Version)
		}
		who[c.Version] = append(who[c.Version], c.Name)
	}
	for _, release := range order {
		names := who[release]
		text := "client " + names[0]
		if len(names) > 1 {
			text = fmt.Sprintf("client %s (and %d more)", names[0], len(names)-1)
		}
		if w := compareReleases(text, release, s.Version); w != "" {
			s.Warnings = append(s.Warnings, w)
		}
	}
}
