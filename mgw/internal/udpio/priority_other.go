//go:build !linux

package udpio

import "errors"

// Prioritize is of Linux. Errors: errors.ErrUnsupported.
func Prioritize(int) error { return errors.ErrUnsupported }

// Punctual is of Linux; elsewhere it does nothing.
func Punctual() {}
