// Command cmd opens an emulated network for people: it builds a profile's paths and takes commands about them on
// standard input until it ends.
//
//	go run ./integration/netlab/cmd uneven
//	> set a rtt 80ms loss 0.01
//	> black_hole a
//	> stats
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mpsocks/mpsocks/integration/netlab"
	"github.com/mpsocks/mpsocks/integration/profiles"
)

const help = `commands, each for one path:
  set PATH KEY VALUE ...   rtt, rate, queue, jitter, loss: as in the profiles
  black_hole PATH          swallow everything, devices stay up
  restore PATH             the profile's own figures again
  down PATH, up PATH       the client's device
  renumber PATH            another client address
  stats                    counters of all paths
  quit
`

func main() {
	netlab.Main()
	if len(os.Args) != 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintf(os.Stderr, "usage: netlab PROFILE\n%s", help)
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err)
		os.Exit(1)
	}
}

func run(name string, in io.Reader, out io.Writer) error {
	all, err := profiles.All()
	if err != nil {
		return err
	}
	var names []string
	for i := range all {
		if all[i].Name == name {
			return serve(&all[i], in, out)
		}
		names = append(names, all[i].Name)
	}
	return fmt.Errorf("no profile %q; there are %s", name, strings.Join(names, " "))
}

// serve opens the network and obeys until the end of the input.
func serve(p *profiles.Profile, in io.Reader, out io.Writer) error {
	lab, err := netlab.New(p.Specs()...)
	if err != nil {
		return err
	}
	defer lab.Close()
	fmt.Fprintf(out, "%s: %s\n", p.Name, p.About)
	fmt.Fprintf(out, "  ip netns exec %s bash\n  ip netns exec %s bash\n", lab.Client.Name, lab.World.Name)
	for _, path := range lab.Paths {
		fmt.Fprintf(out, "  path %s: client %s, world %s\n", path.Name, path.ClientAddr(), path.ServerAddr())
	}
	fmt.Fprintf(out, "  by every path: world %s, server %s\n%s", netlab.World, netlab.Server, help)
	lines := bufio.NewScanner(in)
	for fmt.Fprint(out, "> "); lines.Scan(); fmt.Fprint(out, "> ") {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		if words[0] == "quit" {
			return nil
		}
		if err := obey(lab, p, words, out); err != nil {
			fmt.Fprintln(out, err)
		}
	}
	return lines.Err()
}

// obey does what one line says.
func obey(lab *netlab.Lab, p *profiles.Profile, words []string, out io.Writer) error {
	if words[0] == "stats" {
		return stats(lab, out)
	}
	if len(words) < 2 || lab.Path(words[1]) == nil {
		return fmt.Errorf("%s which path?", words[0])
	}
	path := lab.Path(words[1])
	switch words[0] {
	case "set":
		var figures profiles.Figures
		var text strings.Builder
		for i := 2; i+1 < len(words); i += 2 {
			fmt.Fprintf(&text, "%s: %s\n", words[i], words[i+1])
		}
		d := yaml.NewDecoder(strings.NewReader(text.String()))
		d.KnownFields(true)
		if err := d.Decode(&figures); err != nil {
			return fmt.Errorf("set: %w", err)
		}
		return path.Change(figures.Apply)
	case "black_hole":
		return path.SetBlackHole(true)
	case "restore":
		for i, s := range p.Specs() {
			if lab.Paths[i] == path {
				return path.ChangeEach(func(up, down *netlab.Link) { *up, *down = s.Up, s.Down })
			}
		}
	case "down":
		return path.Down()
	case "up":
		return path.Up()
	case "renumber":
		if err := path.Renumber(); err != nil {
			return err
		}
		fmt.Fprintf(out, "client %s\n", path.ClientAddr())
		return nil
	}
	return fmt.Errorf("%s is no command\n%s", words[0], help)
}

func stats(lab *netlab.Lab, out io.Writer) error {
	for _, p := range lab.Paths {
		up, down, err := p.Stats()
		if err != nil {
			return err
		}
		for direction, s := range map[string]netlab.LinkStats{"up": up, "down": down} {
			fmt.Fprintf(out, "%s %-4s  %d packets, %d bytes in; %d out; %d lost, %d queue full, %d swallowed, %d refused; longest queue %v, late p99 %v\n",
				p.Name, direction, s.Packets, s.Bytes, s.Delivered, s.Lost, s.Overflow, s.Swallowed, s.Refused, s.QueueMax, s.LateP99)
		}
	}
	return nil
}
