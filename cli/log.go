package cli

import (
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// newLogger writes to w in the configured form: for people where w is a
// terminal, one JSON object a line elsewhere, unless the file decides.
// What it says at info and above is remembered too, for the page and for status, also
// when the log is to have less.
func newLogger(cfg conf.Log, w io.Writer) (zerolog.Logger, *status.Events) {
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00" // milliseconds, for a path dies in some
	setLevel(cfg.Level)
	if cfg.Format == "console" || cfg.Format == "auto" && isTerminal(w) {
		w = zerolog.ConsoleWriter{
			Out: w, TimeFormat: time.TimeOnly, NoColor: !isTerminal(w) || os.Getenv("NO_COLOR") != "",
			FormatPrepare: plainFields,
		}
	} else {
		w = plainLines{w}
	}
	events := new(status.Events)
	return zerolog.New(zerolog.MultiLevelWriter(wanted{w}, events)).With().Timestamp().Logger(), events
}

// plainFields leaves out what does not print of a line's texts. The fields of one text alone
// are quoted by the writer.
func plainFields(line map[string]any) error {
	for k, v := range line {
		switch v := v.(type) {
		case []any:
			for i := range v {
				if text, ok := v[i].(string); ok {
					v[i] = status.Plain(text)
				}
			}
		case string:
			if k == zerolog.MessageFieldName {
				line[k] = status.Plain(v)
			}
		}
	}
	return nil
}

// plainLines writes lines of JSON without what does not print in them: the journal and others
// show them as they are.
type plainLines struct{ io.Writer }

func (p plainLines) Write(line []byte) (int, error) {
	if _, err := p.Writer.Write(status.PlainJSON(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// wantedLevel is the least level of the log.
var wantedLevel atomic.Int32

// wanted passes on what the log is to have.
type wanted struct{ io.Writer }

// WriteLevel implements zerolog.LevelWriter.
func (w wanted) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	if level < zerolog.Level(wantedLevel.Load()) {
		return len(line), nil
	}
	return w.Write(line)
}

// setLevel sets the level of all loggers, also of those that were made: it may change
// while a half runs.
func setLevel(name string) {
	level, err := zerolog.ParseLevel(name)
	if err != nil {
		level = zerolog.InfoLevel // conf has validated it
	}
	wantedLevel.Store(int32(level))
	zerolog.SetGlobalLevel(min(level, zerolog.InfoLevel))
}

// isTerminal says whether w is a character device, as terminals are. So is
// /dev/null, where the form does not matter.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
