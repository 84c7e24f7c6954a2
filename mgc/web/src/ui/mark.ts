import { svg } from './dom';

/** The product's mark: two shores and the strip of land that joins them. */
export function mark(): SVGElement {
  return svg(
    'svg',
    { viewBox: '0 0 32 32', class: 'mark', 'aria-hidden': 'true', focusable: 'false' },
    svg('rect', { x: 0, y: 0, width: 32, height: 32, rx: 9, class: 'mark-ground' }),
    svg('path', {
      d: 'M6 7c6 0 6.500 6 10 6s4-6 10-6v4c-4.500 0-4 5-4 5s-.5 5 4 5v4c-6 0-6.500-6-10-6s-4 6-10 6v-4c4.500 0 4-5 4-5s.5-5-4-5z',
      class: 'mark-land',
    }),
  );
}
