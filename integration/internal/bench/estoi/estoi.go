// Package estoi is the extended short-time objective intelligibility measure: J. Jensen, C. H. Taal, "An Algorithm for Predicting the
// Intelligibility of Speech Masked by Modulated Noise Maskers", IEEE/ACM TASLP 24(11), 2016. Floor 0 of the integration module; pure.
//
// It compares the spectrum in third octaves of clean and of degraded speech over windows of 384 ms: 1 is the same, 0 is unrelated.
package estoi

import (
	"errors"
	"math"
)

// Rate of the signals, Hz.
const Rate = 10000

const (
	frame   = 256 // samples of a frame, half of them new
	hop     = frame / 2
	bands   = 15
	lowest  = 150.0 // centre of the lowest band, Hz
	segment = 30    // frames that are compared at once: 384 ms
	dynamic = 40.0  // frames so many dB below the loudest are silence
)

// ErrShort says that there are no 384 ms of speech to compare.
var ErrShort = errors.New("estoi: less than 384 ms of speech")

// Score compares degraded with clean, both at Rate and aligned in time; what one has more than the other is left out. Level does not matter.
// Errors: ErrShort.
func Score(clean, degraded []float64) (float64, error) {
	n := min(len(clean), len(degraded))
	x, y := speechOnly(clean[:n], degraded[:n])
	xs, ys := spectrogram(x), spectrogram(y)
	if len(xs) < segment {
		return 0, ErrShort
	}
	sum, count := 0.0, 0
	for from := 0; from+segment <= len(xs); from++ {
		sum += similarity(normalise(xs[from:from+segment]), normalise(ys[from:from+segment]))
		count++
	}
	return sum / float64(count), nil
}

// window is a Hann window without its zero ends; never written after start.
var window = func() (w [frame]float64) {
	for i := range w {
		w[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i+1)/(frame+1))
	}
	return w
}()

// speechOnly joins the windowed frames in which clean is not silent, of both signals.
func speechOnly(clean, degraded []float64) (x, y []float64) {
	var level []float64
	top := math.Inf(-1)
	for at := 0; at+frame <= len(clean); at += hop {
		e := 0.0
		for i, w := range window {
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
			x, y = make([]float64, hop), make([]float64, hop)
		}
		x, y = append(x, make([]float64, hop)...), append(y, make([]float64, hop)...)
		to := len(x) - frame
		for i, w := range window {
			x[to+i] += w * clean[k*hop+i]
			y[to+i] += w * degraded[k*hop+i]
		}
	}
	return x, y
}

// edges are the FFT bins at which the bands begin and end; never written after start.
var edges = func() (e [bands][2]int) {
	nearest := func(hz float64) int { return int(math.Round(hz * fftSize / Rate)) }
	for k := range e {
		e[k] = [2]int{nearest(lowest * math.Pow(2, float64(2*k-1)/6)), nearest(lowest * math.Pow(2, float64(2*k+1)/6))}
	}
	return e
}()

// spectrogram is the amplitude of each band, frame by frame.
func spectrogram(x []float64) (out [][bands]float64) {
	var buf [fftSize]complex128
	for at := 0; at+frame <= len(x); at += hop {
		clear(buf[:])
		for i, w := range window {
			buf[i] = complex(w*x[at+i], 0)
		}
		fft(&buf)
		var row [bands]float64
		for b, e := range edges {
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
func normalise(in [][bands]float64) *[segment][bands]float64 {
	var s [segment][bands]float64
	copy(s[:], in)
	for b := range bands {
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
		for _, v := range s[t] {
			mean += v / bands
		}
		for b := range s[t] {
			s[t][b] -= mean
			length += s[t][b] * s[t][b]
		}
		for b := range s[t] {
			s[t][b] /= math.Sqrt(length) + tiny
		}
	}
	return &s
}

// similarity is the mean correlation of the frames of two normalised segments.
func similarity(x, y *[segment][bands]float64) float64 {
	sum := 0.0
	for t := range x {
		for b := range x[t] {
			sum += x[t][b] * y[t][b]
		}
	}
	return sum / segment
}
