package app

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/isthmus-gateway/isthmus/mgw/internal/announce"
	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
)

// TonesConfig is the tones of signals.
type TonesConfig struct {
	Plan string `conf:"plan" default:"eu" range:"eu|us|uk" doc:"Country whose tones are played (ITU-T E.180): Europe 425 Hz, North America 350, 440, 480 and 620 Hz, United Kingdom 350, 400 and 450 Hz."`
}

// AnnouncementsConfig is the files that signals can play.
type AnnouncementsConfig struct {
	Dir     string        `conf:"dir" doc:"Directory of announcements: WAV files, PCM of 16 bits at 8, 16 or 48 kHz, mono or stereo, named NAME.wav. Looked at again every ten seconds. Empty: none."`
	Longest time.Duration `conf:"longest" default:"5m" range:"1s..1h" doc:"Longest duration of one."`
	Files   int           `conf:"files" default:"256" range:"1..10000" doc:"Most files."`
	Memory  int           `conf:"memory" default:"64" range:"1..4096" doc:"Most memory for all of them, MiB; a minute takes 2.7."`
}

// openAnnouncements loads the files; it is done even when there are none.
func (a *App) openAnnouncements() (err error) {
	c := a.cfg.Announcements
	a.library, err = announce.Open(announce.Config{
		Dir: c.Dir, Longest: c.Longest, MaxFiles: c.Files, MaxBytes: int64(c.Memory) << 20, Logger: a.log.Named("announcements"),
	})
	return err
}

// plan is the configured tones.
func (c *TonesConfig) plan() signals.Plan {
	name := c.Plan
	if !slices.Contains(signals.Plans, name) {
		name = signals.Plans[0] // a Config that was not loaded by package conf
	}
	p, _ := signals.PlanOf(name)
	return p
}

// countAnnouncements shows what became of changed files.
func (a *App) countAnnouncements(reg prometheus.Registerer) {
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "isthmus_mgw_announcements", Help: "Announcements that can be played.",
		}, func() float64 { return float64(len(a.library.Names())) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "isthmus_mgw_announcement_reload_failures_total", Help: "Looks at the announcements that found one that cannot be played.",
		}, func() float64 { _, failures := a.library.Counts(); return float64(failures) }),
	)
}
