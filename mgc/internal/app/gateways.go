package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/isthmus-gateway/isthmus/mgc/internal/mgwpool"
)

// countGateways shows the pool of media gateways.
func (a *App) countGateways(lost prometheus.Counter) {
	a.metrics.MustRegister(lost)
	for _, state := range []mgwpool.State{mgwpool.InService, mgwpool.Draining, mgwpool.Suspect} {
		a.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "isthmus_mgc_media_gateways", Help: "Media gateways of the pool by state as this instance sees it: in_service, draining, suspect.", ConstLabels: prometheus.Labels{"state": string(state)},
		}, func() (n float64) {
			for _, g := range a.pool.Nodes() {
				if g.State == state {
					n++
				}
			}
			return n
		}))
	}
}
