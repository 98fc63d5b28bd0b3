package walk

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	shell   = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	comment = regexp.MustCompile(` +#.*`)
	asRoot  = regexp.MustCompile(`^(ssh -t \S+ )?sudo `)
)

// elsewhere are the commands of README.md that the walk does not go, and who does.
var elsewhere = map[string]string{
	"install -m 755 mpsocks-*-linux-amd64 /usr/local/bin/mpsocks": "the package has it there already",
	"scp server.yaml 203.0.113.5:":                                "both halves are on one system",
	"ufw allow 7443/tcp":                                          "no firewall is there",
	"curl --socks5-hostname 127.0.0.1:1080 https://example.com/":  "no internet is there: TestCurl of interop",
	"systemctl reload mpsocks-client":                             "systemd does not run in a chroot",
	"mpsocks run -- dig example.com":                              "TestRunPrograms of interop",
	"mpsocks run -- curl https://example.com/":                    "TestRunPrograms of interop",
	"mpsocks run -- sh":                                           "TestRunPrograms of interop",
}

// TestReadmeIsWalked: each command of README.md is one of the walk's, or it is said why not.
func TestReadmeIsWalked(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	walk, err := os.ReadFile("walk_linux_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, block := range shell.FindAllStringSubmatch(string(readme), -1) {
		for line := range strings.Lines(block[1]) {
			command := asRoot.ReplaceAllString(strings.TrimSpace(comment.ReplaceAllString(line, "")), "")
			all = append(all, command)
			if elsewhere[command] == "" && !strings.Contains(string(walk), `"`+command) {
				t.Errorf("nobody goes %q", command)
			}
		}
	}
	if len(all) < 20 {
		t.Errorf("only %d commands: %q", len(all), all)
	}
	for command := range elsewhere {
		if !slices.Contains(all, command) {
			t.Errorf("README.md does not have %q", command)
		}
	}
}
