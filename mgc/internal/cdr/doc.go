// Package cdr writes call data records as lines of JSON. Floor 1 of mgc.
package cdr
