import { svg } from './dom';

/** 24x24 outlines, drawn with the text colour. */
const PATHS = {
  phone:
    'M5 4h4l2 5-2.5 1.6a11 11 0 0 0 5 5L15 13l5 2v4a1.5 1.5 0 0 1-1.6 1.5A15.5 15.5 0 0 1 3.5 5.6 1.5 1.5 0 0 1 5 4z',
  hangup:
    'M3.2 14.6c-1-2 0-3.6 1.4-4.6 4.500-2.800 10.300-2.800 14.800 0 1.400 1 2.400 2.600 1.400 4.600l-.5 1-4.500-1.100-.3-2.700a11 11 0 0 0-7 0l-.3 2.700-4.500 1.100z',
  mic: 'M12 3.500a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0v-5a3 3 0 0 1 3-3zM5.500 11.500a6.500 6.500 0 0 0 13 0M12 18v3M8.500 21h7',
  micOff:
    'M4 4l16 16M9 9v2.500a3 3 0 0 0 4.600 2.500M15 11V6.500a3 3 0 0 0-5.800-1M5.500 11.500A6.500 6.500 0 0 0 15.600 17M18.500 11.500a6.500 6.500 0 0 1-.6 2.700M12 18v3M8.500 21h7',
  pause: 'M8.500 5v14M15.500 5v14',
  play: 'M7.500 4.800v14.400L19 12z',
  transfer: 'M4 8h13m-4-4l4 4-4 4M20 16H7m4-4l-4 4 4 4',
  pad: 'M6 6h.01M12 6h.01M18 6h.01M6 12h.01M12 12h.01M18 12h.01M6 18h.01M12 18h.01M18 18h.01',
  chat: 'M4 5.500h16v11H10l-4.500 3.500v-3.500H4z',
  ladder: 'M6 3.500v17M18 3.500v17M6 8h9m-2.500-2.500L15 8l-2.500 2.500M18 16H9m2.500-2.500L9 16l2.500 2.500',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M5.300 18.700l1.400-1.400M17.300 6.700l1.400-1.400',
  leave: 'M14 4.500H5.500v15H14M10 12h10.500m-3.500-3.500L20.500 12 17 15.500',
  help: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9.500 9.500a2.500 2.500 0 1 1 3.600 2.300c-.8.4-1.100.9-1.100 1.900M12 16.800v.01',
  close: 'M6 6l12 12M18 6L6 18',
  send: 'M4 4.500l16.500 7.500L4 19.500 6.500 12zM6.500 12H13',
  back: 'M20.500 5.500h-12L3 12l5.500 6.500h12zM11.500 9.500l5 5M16.500 9.500l-5 5',
  in: 'M17 7L7 17m0-7.500V17h7.500',
  out: 'M7 17L17 7m-7.500 0H17v7.500',
  warn: 'M12 4L2.800 20h18.400zM12 10v4.500M12 17.300v.01',
  sound: 'M4 9.500v5h3.500L12 18.500v-13L7.500 9.500zM15.500 9a4 4 0 0 1 0 6M18 6.500a7.500 7.500 0 0 1 0 11',
} as const;

export type IconName = keyof typeof PATHS;

/** A decorative icon; the control around it carries the name. */
export function icon(name: IconName): SVGElement {
  const thick = name === 'pad' ? 3 : 1.8;
  return svg(
    'svg',
    { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true', focusable: 'false' },
    svg('path', {
      d: PATHS[name],
      fill: name === 'hangup' || name === 'play' ? 'currentColor' : 'none',
      stroke: 'currentColor',
      'stroke-width': thick,
      'stroke-linecap': 'round',
      'stroke-linejoin': 'round',
    }),
  );
}
