import { describe, expect, test } from 'vitest';
import { areaUnder, linePath, niceMax } from '../../src/ui/plot';

describe('niceMax', () => {
  test.each([
    [[], 5, 5],
    [[1, 2], 5, 5],
    [[6], 5, 10],
    [[10], 5, 10],
    [[11], 5, 20],
    [[49.9], 20, 50],
    [[101], 20, 200],
    [[0.3], 0.1, 0.5],
  ])('%j with floor %d is %d', (values, floor, want) => {
    expect(niceMax(values as number[], floor as number)).toBeCloseTo(want as number);
  });
});

describe('linePath', () => {
  test('the newest sample is at the right edge, zero at the bottom, more than max at the top', () => {
    const d = linePath(
      [
        { t: 0, v: 0 },
        { t: 30_000, v: 99 },
        { t: 60_000, v: 5 },
      ],
      60_000,
      10,
      300,
      40,
      60,
    );
    expect(d).toBe('M0.0 40.0L150.0 0.0L300.0 20.0');
  });
  test('unknown values break the line, old ones are left out', () => {
    const d = linePath(
      [
        { t: -90_000, v: 1 },
        { t: 0, v: 10 },
        { t: 30_000, v: undefined },
        { t: 60_000, v: 10 },
      ],
      60_000,
      10,
      300,
      40,
      60,
    );
    expect(d).toBe('M0.0 0.0M300.0 0.0');
  });
  test('nothing known, nothing drawn', () => {
    expect(linePath([], 0, 10, 300, 40, 60)).toBe('');
  });
});

test('areaUnder closes each stroke to the base line', () => {
  expect(areaUnder('M0.0 4.0L10.0 5.0M20.0 1.0')).toBe(
    'M0.0 4.0L10.0 5.0L10.0 44L0.0 44ZM20.0 1.0L20.0 44L20.0 44Z',
  );
  expect(areaUnder('')).toBe('');
});
