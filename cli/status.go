package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newStatus is `mpsocks status`: what a running half says about itself.
func newStatus() *cobra.Command {
	var address string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a running client or server says about itself",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := fetchStatus(cmd.Context(), address)
			if err != nil {
				return fmt.Errorf("%w: is it running, with admin: %s in its configuration?", err, address)
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(body)
				return err
			}
			return printStatus(cmd.OutOrStdout(), body)
		},
	}
	cmd.Flags().StringVar(&address, "admin", "127.0.0.1:9081", "the half's admin address; a server's is 127.0.0.1:9082 as init writes it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// fetchStatus gets /status. No proxy is asked: the address is here or known.
func fetchStatus(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/status", nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", address, resp.Status)
	}
	return body, err
}

// field is a key and its value; a JSON object is a list of them, in the order
// in which it was written.
type field struct {
	key   string
	value any // string, []any, []field
}

// readOrdered reads one JSON value, with scalars as their texts.
func readOrdered(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		object := []field{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := readOrdered(d)
			if err != nil {
				return nil, err
			}
			object = append(object, field{fmt.Sprint(key), value})
		}
		_, err = d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := readOrdered(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	case nil:
		return "-", nil
	}
	if n, ok := t.(json.Number); ok && strings.ContainsAny(n.String(), ".eE") {
		// Nobody reads beyond a thousandth of a millisecond.
		if f, err := n.Float64(); err == nil {
			return strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64), nil
		}
	}
	return fmt.Sprint(t), nil
}

// printStatus writes the JSON as indented lines, and lists of plain objects as
// tables.
func printStatus(w io.Writer, body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	tree, err := readOrdered(d)
	if err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	var out bytes.Buffer
	printNode(&out, "", tree)
	_, err = w.Write(out.Bytes())
	return err
}

func printNode(out *bytes.Buffer, indent string, node any) {
	switch n := node.(type) {
	case []field:
		for _, f := range n {
			if s, ok := f.value.(string); ok {
				fmt.Fprintf(out, "%s%s: %s\n", indent, f.key, s)
				continue
			}
			fmt.Fprintf(out, "%s%s:\n", indent, f.key)
			printNode(out, indent+"  ", f.value)
		}
	case []any:
		if table(out, indent, n) {
			return
		}
		for i, v := range n {
			if s, ok := v.(string); ok {
				fmt.Fprintf(out, "%s- %s\n", indent, s)
				continue
			}
			fmt.Fprintf(out, "%s[%d]\n", indent, i)
			printNode(out, indent+"  ", v)
		}
	case string:
		fmt.Fprintf(out, "%s%s\n", indent, n)
	}
}

// table writes a list of objects that have only scalars, if it is one. A key
// that an object leaves out is an empty cell.
func table(out *bytes.Buffer, indent string, list []any) bool {
	var head []string
	column := map[string]int{}
	rows := [][]string{}
	for _, v := range list {
		object, ok := v.([]field)
		if !ok {
			return false
		}
		row := make([]string, len(head), len(head)+len(object))
		for _, f := range object {
			s, ok := cell(f.value)
			if !ok {
				return false
			}
			i, known := column[f.key]
			if !known {
				i = len(head)
				column[f.key] = i
				head = append(head, f.key)
				row = append(row, "")
			}
			row[i] = s
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return true
	}
	writeTable(out, indent, append([][]string{head}, rows...))
	return true
}

// cell is a scalar, or a list of scalars in one cell.
func cell(value any) (string, bool) {
	list, ok := value.([]any)
	if !ok {
		s, ok := value.(string)
		return s, ok
	}
	texts := make([]string, len(list))
	for i, v := range list {
		if texts[i], ok = v.(string); !ok {
			return "", false
		}
	}
	return strings.Join(texts, ","), true
}

func writeTable(out *bytes.Buffer, indent string, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			width[i] = max(width[i], len(text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, text := range row {
			fmt.Fprintf(&line, "%-*s  ", width[i], text)
		}
		out.WriteString(indent + strings.TrimRight(line.String(), " ") + "\n")
	}
}
