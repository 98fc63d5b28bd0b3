package cli

import (
	"context"
	"sync"

	"github.com/kardianos/service"
)

// underManager runs a half. Started by Windows' service manager, it answers that one,
// whose order to stop ends the context.
func underManager(ctx context.Context, run func(ctx context.Context) error) error {
	if service.Interactive() {
		return run(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := &managed{stop: stop}
	p.run = func() error { return run(ctx) }
	s, err := service.New(p, &service.Config{Name: "mpsocks"})
	if err != nil {
		return err
	}
	if err := s.Run(); err != nil {
		return err
	}
	p.wg.Wait()
	return p.err
}

// managed is a half as kardianos/service starts and stops it.
type managed struct {
	run  func() error
	stop context.CancelFunc
	wg   sync.WaitGroup
	err  error // after wg
}

func (p *managed) Start(s service.Service) error {
	p.wg.Go(func() {
		if p.err = p.run(); p.err != nil {
			_ = s.Stop() // it has ended by itself: the manager shall know
		}
	})
	return nil
}

func (p *managed) Stop(service.Service) error {
	p.stop()
	return nil
}
