/** Of what people look at. */
export const maxListed = 1000
/** Of one statement: fewer than either engine takes. */
const maxParameters = 500

/** All of them, as many at a time as one statement takes. */
export function* chunks<T>(values: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < values.length; from += maxParameters) yield values.slice(from, from + maxParameters)
}
