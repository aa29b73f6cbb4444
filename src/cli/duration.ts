const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** `90s`, `30m`, `1h30m`, `2d` in seconds; undefined for anything else, zero included. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d{1,7}[smhd]){1,4}$/.test(text)) return undefined
  let seconds = 0
  for (const [, count, unit] of text.matchAll(/(\d+)([smhd])/g))
    seconds += Number(count) * (unitSeconds[unit ?? ''] ?? 0)
  return seconds > 0 ? seconds : undefined
}

/** The largest unit that says enough: `41 s`, `58 min`, `1 h 5 min`, `3 d 2 h`. */
export function showDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  return hours % 24 === 0 ? `${Math.floor(hours / 24)} d` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** `9:48`, `1:02:03`: what is left of a wait, counting down. */
export function showCountdown(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000))
  const two = (value: number) => String(value).padStart(2, '0')
  const minutes = Math.floor(seconds / 60)
  return minutes < 60
    ? `${minutes}:${two(seconds % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`
}

/** Local time: `14:07:12`. */
export function showTime(date: Date): string {
  return date.toTimeString().slice(0, 8)
}

/** Local time without seconds, with the day where it is not today's: `16:04`, `tomorrow 02:10`, `24 Nov 02:10`. */
export function showUntil(date: Date, now: Date): string {
  const time = date.toTimeString().slice(0, 5)
  if (date.toDateString() === now.toDateString()) return time
  const tomorrow = new Date(now)
  tomorrow.setDate(now.getDate() + 1)
  if (date.toDateString() === tomorrow.toDateString()) return `tomorrow ${time}`
  const month = date.toLocaleString('en-GB', { month: 'short' })
  return `${date.getDate()} ${month} ${time}`
}
