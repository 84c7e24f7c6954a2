// Package mgw is the root of the media gateway module; it holds the import policy test only.
package mgw
