import type { Sample } from '../media/stats';
import { h, setText, svg } from './dom';

/** Seconds shown. */
const WINDOW_S = 60;
const W = 300;
const H = 44;

/** The smallest "round" number (1, 2, 5 times a power of ten) that holds all values, at least `floor`. */
export function niceMax(values: number[], floor: number): number {
  const top = Math.max(floor, ...values);
  const power = 10 ** Math.floor(Math.log10(top));
  for (const m of [1, 2, 5, 10]) {
    // A hair of tolerance: 0.3/0.1 is a little more than 3.
    if (m * power >= top * (1 - 1e-9)) return m * power;
  }
  return 10 * power;
}

/**
 * An SVG path through the known values, broken where values are missing.
 * The newest sample is at the right edge; `windowS` seconds fit the width.
 */
export function linePath(
  points: { t: number; v: number | undefined }[],
  now: number,
  max: number,
  w: number,
  hgt: number,
  windowS: number,
): string {
  let path = '';
  let pen = false;
  for (const { t, v } of points) {
    const x = w - ((now - t) / 1000) * (w / windowS);
    if (v === undefined || x < 0) {
      pen = false;
      continue;
    }
    const y = hgt - (Math.min(v, max) / max) * hgt;
    path += `${pen ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  }
  return path;
}

interface Lane {
  name: string;
  unit: string;
  floor: number;
  digits: number;
  of: (s: Sample) => number | undefined;
}

const LANES: Lane[] = [
  { name: 'Loss', unit: '%', floor: 5, digits: 1, of: (s) => s.lossPct },
  { name: 'Jitter', unit: 'ms', floor: 20, digits: 1, of: (s) => s.jitterMs },
  { name: 'Round trip', unit: 'ms', floor: 50, digits: 0, of: (s) => s.rttMs },
];

/** Three small charts over the last minute: loss, jitter, round trip. */
export function plot(): { el: HTMLElement; update(samples: Sample[]): void } {
  const lanes = LANES.map((lane) => {
    const line = svg('path', { class: 'line', fill: 'none' });
    const area = svg('path', { class: 'area' });
    const value = h('output', { class: 'value' }, '–');
    const scale = h('span', { class: 'scale' }, '');
    const chart = svg(
      'svg',
      {
        viewBox: `0 0 ${W} ${H}`,
        preserveAspectRatio: 'none',
        role: 'img',
        'aria-label': `${lane.name} over the last minute`,
      },
      svg('path', {
        class: 'grid',
        d: `M0 ${H / 2}H${W}M0 ${H - 0.5}H${W}M${W / 4} 0V${H}M${W / 2} 0V${H}M${(3 * W) / 4} 0V${H}`,
      }),
      area,
      line,
    );
    const el = h(
      'div',
      { class: `lane lane-${lane.name.split(' ')[0]?.toLowerCase()}` },
      h('div', { class: 'lane-head' }, h('span', {}, lane.name), value),
      h('div', { class: 'lane-chart' }, chart, scale),
    );
    return { lane, line, area, value, scale, el };
  });
  const el = h(
    'section',
    { class: 'plot', 'aria-label': 'Quality over the last minute' },
    ...lanes.map((l) => l.el),
  );
  return {
    el,
    update(samples) {
      const now = samples.at(-1)?.t ?? 0;
      for (const { lane, line, area, value, scale } of lanes) {
        const points = samples
          .map((s) => ({ t: s.t, v: lane.of(s) }))
          .filter((p) => now - p.t <= WINDOW_S * 1000);
        const max = niceMax(
          points.flatMap((p) => (p.v === undefined ? [] : [p.v])),
          lane.floor,
        );
        const d = linePath(points, now, max, W, H, WINDOW_S);
        line.setAttribute('d', d);
        area.setAttribute('d', areaUnder(d));
        const last = points.at(-1)?.v;
        setText(value, last === undefined ? '–' : `${last.toFixed(lane.digits)} ${lane.unit}`);
        setText(scale, `${max} ${lane.unit}`);
      }
    },
  };
}

/** Closes each stroke of a line path down to the base line. */
export function areaUnder(line: string): string {
  return line
    .split('M')
    .filter((s) => s !== '')
    .map((stroke) => {
      const xs = stroke.split('L').map((p) => p.split(' ')[0] ?? '0');
      return `M${stroke}L${xs.at(-1)} ${H}L${xs[0]} ${H}Z`;
    })
    .join('');
}
