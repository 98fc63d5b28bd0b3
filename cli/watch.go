package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/mux/lull"
	"github.com/mpsocks/mpsocks/status"
)

// The live view of `mpsocks status -w`: what status prints, with the rates of the last
// minute as sparklines, anew every second.

const (
	// sparkWidth is how many seconds a sparkline has at most, and sparkLeast how many it
	// has to have to say something.
	sparkWidth, sparkLeast = 60, 12
	// watchRetry is the pause before a half that went is asked again.
	watchRetry = time.Second
)

var (
	styleTitle = lipgloss.NewStyle().Bold(true)
	styleGood  = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	styleBad   = lipgloss.NewStyle().Foreground(lipgloss.Color("1")).Bold(true)
	styleSoft  = lipgloss.NewStyle().Faint(true)
)

// screen is the model of the view.
type screen struct {
	states        []*status.Status // by half, as they were found
	errs          []error
	rates         []map[string][]int64 // by half and path, the newest last
	shown         int
	width, height int
	section       int // 0 all, 1 paths or clients, 2 programs, 3 events
	scroll        int
	ask           *confirm
	said          string
	clients       []*admin.Client
	ctx           context.Context
}

// confirm is something to do that waits for a yes.
type confirm struct {
	text string
	do   func() error
}

// Messages.
type (
	newState struct {
		half  int
		state *status.Status
		err   error
	}
	done struct{ err error }
)

// watchStatus shows the halves until a key or ctx ends it.
func watchStatus(ctx context.Context, clients []*admin.Client, states []*status.Status, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &screen{
		states: states, errs: make([]error, len(states)), rates: make([]map[string][]int64, len(states)),
		width: viewWidth, height: viewHeight, clients: clients, ctx: ctx,
	}
	for i, c := range clients {
		s.rates[i] = make(map[string][]int64)
		if past, err := c.History(ctx); err == nil {
			for _, sample := range past[max(0, len(past)-sparkWidth):] {
				for path, p := range sample.Paths {
					s.rates[i][path] = append(s.rates[i][path], p.Up+p.Down)
				}
			}
		}
	}
	program := tea.NewProgram(s, tea.WithContext(ctx), tea.WithOutput(out))
	for i, c := range clients {
		go func() { // ends with ctx
			for ctx.Err() == nil {
				err := c.Watch(ctx, func(st *status.Status) { program.Send(newState{i, st, nil}) })
				if ctx.Err() == nil {
					program.Send(newState{i, nil, err})
				}
				lull.Pause(ctx, watchRetry)
			}
		}()
	}
	_, err := program.Run()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
		err = nil
	}
	return err
}

// Init implements tea.Model.
func (s *screen) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = m.Width, m.Height
	case newState:
		s.errs[m.half] = m.err
		if m.state != nil {
			s.states[m.half] = m.state
			s.note(m.half, m.state)
		}
	case done:
		if s.said = "done"; m.err != nil {
			s.said = m.err.Error()
		}
	case tea.KeyPressMsg:
		return s, s.press(m.String())
	}
	return s, nil
}

// note adds the newest rates to the sparklines.
func (s *screen) note(half int, st *status.Status) {
	for _, sess := range st.All() {
		for i := range sess.Paths {
			p := &sess.Paths[i]
			r := append(s.rates[half][p.Name], p.UpBPS+p.DownBPS)
			s.rates[half][p.Name] = r[max(0, len(r)-sparkWidth):]
		}
	}
}

// press acts on a key.
func (s *screen) press(key string) tea.Cmd {
	if s.ask != nil {
		q := s.ask
		s.ask = nil
		if key == "y" {
			return func() tea.Msg { return done{q.do()} }
		}
		return nil
	}
	s.said = ""
	switch key {
	case "q", "esc", "ctrl+c":
		return tea.Quit
	case "tab":
		s.shown = (s.shown + 1) % len(s.states)
	case "a":
		s.section, s.scroll = 0, 0
	case "p":
		s.section, s.scroll = 1, 0
	case "t":
		s.section, s.scroll = 2, 0
	case "e":
		s.section, s.scroll = 3, 0
	case "down", "j":
		s.scroll++
	case "up", "k":
		s.scroll = max(0, s.scroll-1)
	case "1", "2", "3", "4", "5", "6", "7", "8", "9":
		s.askPause(int(key[0] - '1'))
	}
	return nil
}

// askPause asks whether the n-th path shall be paused or resumed.
func (s *screen) askPause(n int) {
	st := s.states[s.shown]
	if st.Session == nil || n >= len(st.Session.Paths) {
		return
	}
	p, c := st.Session.Paths[n], s.clients[s.shown]
	what := "Pause"
	if p.Paused {
		what = "Resume"
	}
	question := func(name string) string { return fmt.Sprintf("%s path %s? y / n", what, name) }
	s.ask = &confirm{question(cut(p.Name, max(s.width-cells(question("")), 0))), func() error {
		return c.Act(s.ctx, "pause", map[string]any{"path": p.Name, "on": !p.Paused})
	}}
}

// View implements tea.Model.
func (s *screen) View() tea.View {
	var b strings.Builder
	st := s.states[s.shown]
	parts := view(st, s.width, s.height-1, time.Now(), s.curve)
	if s.section > 0 && s.section < len(parts) {
		all := view(st, s.width, 1<<20, time.Now(), s.curve)
		parts = []section{all[0], all[s.section]}
		room := max(s.height-2-len(parts[0].lines), 0)
		s.scroll = max(0, min(s.scroll, len(parts[1].lines)-room))
		parts[1].lines = parts[1].lines[s.scroll:min(len(parts[1].lines), s.scroll+room)]
	}
	var lines []string
	for i, part := range parts {
		if part.title != "" {
			title := part.title
			if part.more > 0 {
				title += fmt.Sprintf(" (%s more)", count(part.more, "line"))
			}
			lines = append(lines, styleTitle.Render(cut(title, s.width)))
		}
		for j, line := range part.lines {
			lines = append(lines, paint(line, i == 0 && j == 0))
		}
	}
	room := max(s.height-1, 0) // the last line is the keys'
	for len(lines) < room {
		lines = append(lines, "")
	}
	for _, line := range lines[:room] {
		b.WriteString(line + "\n")
	}
	b.WriteString(s.foot())
	v := tea.NewView(legible(b.String()))
	v.AltScreen = true
	v.WindowTitle = "mpsocks status"
	return v
}

// curve draws a path's rates of the last seconds in so many columns.
func (s *screen) curve(path string, width int) string {
	values := s.rates[s.shown][path]
	return spark(values[max(0, len(values)-width):], width)
}

// spark draws numbers as bars, the newest at the right of so many columns. Nothing is drawn
// where there was nothing.
func spark(values []int64, width int) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	top := int64(1)
	for _, v := range values {
		top = max(top, v)
	}
	out := []rune(strings.Repeat(" ", max(0, width-len(values))))
	for _, v := range values {
		if v == 0 {
			out = append(out, ' ')
			continue
		}
		out = append(out, bars[min(int(v*int64(len(bars)-1)/top), len(bars)-1)])
	}
	return string(out)
}

// paint gives a line its colour; what it says does not hang on it.
func paint(line string, head bool) string {
	word := strings.TrimSpace(line)
	switch {
	case head:
		return styleTitle.Render(line)
	case strings.HasPrefix(line, "! "), strings.HasPrefix(word, "dead"), strings.HasPrefix(word, "NOT READY"), strings.HasPrefix(word, "stalled"), len(line) > 10 && line[9] == '!':
		return styleBad.Render(line)
	case strings.HasPrefix(word, "up"):
		return styleGood.Render(line)
	case strings.HasPrefix(line, "  "):
		return styleSoft.Render(line)
	}
	return line
}

// foot is the last line: a question, what was said, or the keys.
func (s *screen) foot() string {
	if s.ask != nil {
		return styleTitle.Render(cut(s.ask.text, s.width))
	}
	if err := s.errs[s.shown]; err != nil {
		return styleBad.Render(cut("it does not answer: "+err.Error(), s.width))
	}
	if s.said != "" {
		return cut(s.said, s.width)
	}
	first, more := "paths", " · ↑↓ scroll · 1-9 pause a path"
	if s.states[s.shown].Half == status.Server {
		first, more = "clients", " · ↑↓ scroll"
	}
	if len(s.states) > 1 {
		more += " · tab other half"
	}
	keys := "q quit · a all · p " + first + " · t programs · e events" + more
	if cells(keys) > s.width {
		keys = "q quit a all p " + first + " t programs e events"
	}
	return styleSoft.Render(cut(keys, s.width))
}
