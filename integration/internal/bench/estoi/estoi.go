// Package estoi is the extended short-time objective intelligibility measure: J. Jensen, C. H. Taal, "An Algorithm for Predicting the
// Intelligibility of Speech Masked by Modulated Noise Maskers", IEEE/ACM TASLP 24(11), 2016. Floor 0 of the integration module; pure.
//
// It compares the spectrum in third octaves of clean and of degraded speech over windows of 384 ms: 1 is the same, 0 is unrelated.
package estoi

import (
	"errors"
	"math"
)

// Rate of the signals, Hz. WideRate is that of ScoreWide.
const (
	Rate     = 10000
	WideRate = 16000
)

const (
	lowest  = 150.0 // centre of the lowest band, Hz
	segment = 30    // frames that are compared at once: 384 ms
	dynamic = 40.0  // frames so many dB below the loudest are silence
	most    = 17    // bands
)

// measure is the same analysis at one rate: frames of 25.6 ms, half of each new.
type measure struct {
	rate, frame, hop, bands int
	fft                     transform
	window                  []float64    // a Hann window without its zero ends
	edges                   [most][2]int // FFT bins at which the bands begin and end
}

// The paper's measure, and the same up to 6.8 kHz: two third octaves more. Never written after start.
var (
	usual = newMeasure(Rate, 256, 512, 15)
	broad = newMeasure(WideRate, 410, 1024, most)
)

func newMeasure(rate, frame, size, bands int) *measure {
	m := &measure{rate: rate, frame: frame, hop: frame / 2, bands: bands, fft: newTransform(size), window: make([]float64, frame)}
	for i := range m.window {
		m.window[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i+1)/float64(frame+1))
	}
	nearest := func(hz float64) int { return int(math.Round(hz * float64(size) / float64(rate))) }
	for k := range bands {
		m.edges[k] = [2]int{nearest(lowest * math.Pow(2, float64(2*k-1)/6)), nearest(lowest * math.Pow(2, float64(2*k+1)/6))}
	}
	return m
}

// ErrShort says that there are no 384 ms of speech to compare.
var ErrShort = errors.New("estoi: less than 384 ms of speech")

// Score compares degraded with clean, both at Rate and aligned in time; what one has more than the other is left out. Level does not matter.
// Errors: ErrShort.
func Score(clean, degraded []float64) (float64, error) { return usual.score(clean, degraded) }

// ScoreWide is Score for signals at WideRate, with the bands up to 6.8 kHz that wide-band speech has beside. No part of the paper: a value of
// one does not compare with a value of the other.
func ScoreWide(clean, degraded []float64) (float64, error) { return broad.score(clean, degraded) }

func (m *measure) score(clean, degraded []float64) (float64, error) {
	n := min(len(clean), len(degraded))
	x, y := m.speechOnly(clean[:n], degraded[:n])
	xs, ys := m.spectrogram(x), m.spectrogram(y)
	if len(xs) < segment {
		return 0, ErrShort
	}
	sum, count := 0.0, 0
	for from := 0; from+segment <= len(xs); from++ {
		sum += m.similarity(m.normalise(xs[from:from+segment]), m.normalise(ys[from:from+segment]))
		count++
	}
	return sum / float64(count), nil
}

// speechOnly joins the windowed frames in which clean is not silent, of both signals.
func (m *measure) speechOnly(clean, degraded []float64) (x, y []float64) {
	var level []float64
	top := math.Inf(-1)
	for at := 0; at+m.frame <= len(clean); at += m.hop {
		e := 0.0
		for i, w := range m.window {
			v := w * clean[at+i]
			e += v * v
		}
		level = append(level, 10*math.Log10(e+1e-30))
		top = max(top, level[len(level)-1])
	}
	for k, l := range level {
		if l <= top-dynamic {
			continue
		}
		if len(x) == 0 {
			x, y = make([]float64, m.hop), make([]float64, m.hop)
		}
		x, y = append(x, make([]float64, m.hop)...), append(y, make([]float64, m.hop)...)
		to := len(x) - m.frame
		for i, w := range m.window {
			x[to+i] += w * clean[k*m.hop+i]
			y[to+i] += w * degraded[k*m.hop+i]
		}
	}
	return x, y
}

// spectrogram is the amplitude of each band, frame by frame.
func (m *measure) spectrogram(x []float64) (out [][most]float64) {
	buf := make([]complex128, m.fft.size())
	for at := 0; at+m.frame <= len(x); at += m.hop {
		clear(buf)
		for i, w := range m.window {
			buf[i] = complex(w*x[at+i], 0)
		}
		m.fft.run(buf)
		var row [most]float64
		for b, e := range m.edges[:m.bands] {
			for i := e[0]; i < e[1]; i++ {
				row[b] += real(buf[i])*real(buf[i]) + imag(buf[i])*imag(buf[i])
			}
			row[b] = math.Sqrt(row[b])
		}
		out = append(out, row)
	}
	return out
}

const tiny = 2.220446049250313e-16 // keeps silence from a division by zero

// normalise takes mean and length out of each band over time, then out of each frame over the bands (the paper's equations 3 to 5).
func (m *measure) normalise(in [][most]float64) *[segment][most]float64 {
	var s [segment][most]float64
	copy(s[:], in)
	for b := range m.bands {
		mean, length := 0.0, 0.0
		for t := range s {
			mean += s[t][b] / segment
		}
		for t := range s {
			s[t][b] -= mean
			length += s[t][b] * s[t][b]
		}
		for t := range s {
			s[t][b] /= math.Sqrt(length) + tiny
		}
	}
	for t := range s {
		mean, length := 0.0, 0.0
		for _, v := range s[t][:m.bands] {
			mean += v / float64(m.bands)
		}
		for b := range s[t][:m.bands] {
			s[t][b] -= mean
			length += s[t][b] * s[t][b]
		}
		for b := range s[t][:m.bands] {
			s[t][b] /= math.Sqrt(length) + tiny
		}
	}
	return &s
}

// similarity is the mean correlation of the frames of two normalised segments.
func (m *measure) similarity(x, y *[segment][most]float64) float64 {
	sum := 0.0
	for t := range x {
		for b := range m.bands {
			sum += x[t][b] * y[t][b]
		}
	}
	return sum / segment
}
