package cli

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
)

// newLogger writes to w in the configured form: for people where w is a
// terminal, one JSON object a line elsewhere, unless the file decides.
func newLogger(cfg conf.Log, w io.Writer) zerolog.Logger {
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00" // milliseconds, for a path dies in some
	setLevel(cfg.Level)
	if cfg.Format == "console" || cfg.Format == "auto" && isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !isTerminal(w) || os.Getenv("NO_COLOR") != ""}
	}
	return zerolog.New(w).With().Timestamp().Logger()
}

// setLevel sets the level of all loggers, also of those that were made: it may change
// while a half runs.
func setLevel(name string) {
	level, err := zerolog.ParseLevel(name)
	if err != nil {
		level = zerolog.InfoLevel // conf has validated it
	}
	zerolog.SetGlobalLevel(level)
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
