//go:build !linux

package netwatch

import (
	"context"
	"time"
)

// watchKernel gives a hint every two seconds: other kernels are not asked to tell.
func watchKernel(ctx context.Context, hints chan<- struct{}) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		select {
		case hints <- struct{}{}:
		default:
		}
	}
}
