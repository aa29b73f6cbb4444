/** Of several resources the longest counts; null, for ever, where one says nothing. */
export function longestRetention(seconds: readonly (number | null)[]): number | null {
  return seconds.some(each => each === null) ? null : Math.max(0, ...seconds.map(each => each ?? 0))
}
