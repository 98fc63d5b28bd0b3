package cli

import (
	"context"
	"sync/atomic"

	"github.com/kardianos/service"
)

// underManager runs a half. Started by Windows' service manager as the service of that name, it answers
// that one, whose order to stop ends the context. A half that ends by itself has its service stop; if
// it failed, its process goes without a word to the manager, which starts it anew then.
func underManager(ctx context.Context, name string, run func(ctx context.Context) error) error {
	if service.Interactive() {
		return run(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := &managed{run: func() error { return run(ctx) }, stop: stop, ended: make(chan error, 1)}
	s, err := service.New(p, &service.Config{Name: name})
	if err != nil {
		return err
	}
	left := make(chan error, 1)
	go func() { left <- s.Run() }()
	select {
	case err := <-left:
		if err != nil {
			return err
		}
		return <-p.ended
	case err := <-p.ended:
		switch {
		case p.asked.Load():
			<-left
		case err == nil && s.Stop() == nil:
			<-left
		}
		return err
	}
}

// managed is a half as kardianos/service starts and stops it.
type managed struct {
	run   func() error
	stop  context.CancelFunc
	asked atomic.Bool // by the manager, to stop
	ended chan error
}

func (p *managed) Start(service.Service) error {
	go func() { p.ended <- p.run() }()
	return nil
}

func (p *managed) Stop(service.Service) error {
	p.asked.Store(true)
	p.stop()
	return nil
}
