import { unchanging } from './static.ts'
import type { OpenIssuer } from './issuer-kind.ts'

/** For a target that asks for nothing. */
export const openNone: OpenIssuer<'none'> = () =>
  Promise.resolve({
    place: undefined,
    issuerFor: () => unchanging({ issuer: 'none', user: null, secret: null, certificate: null, expiresAt: null }),
  })
