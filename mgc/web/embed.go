// Package web carries the built web phone: the contents of dist/ as a file
// system that the MGC serves at "/". Floor 0: it imports nothing of the MGC and
// owns no goroutine.
//
// dist/ is produced by `npm ci && npm run build` in this folder and is not
// committed. A checkout without a build embeds the placeholder dist/.keep only,
// so the Go side always compiles; the server finds no index.html then and says so.
package web

import "embed"

// Dist holds the built phone under the directory "dist" (use fs.Sub to strip
// it). It is read-only and safe for concurrent use. "dist/index.html" is absent
// when the phone was not built before the Go build.
//
//go:embed all:dist
var Dist embed.FS
