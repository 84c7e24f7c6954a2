// Package mgc is the root of the media gateway controller module; it holds the import policy test only.
package mgc
