import { afterAll, beforeAll, expect, it } from 'vitest'
import { confirmAsPerson } from '../../src/demo/browser.ts'
import { demoClient, IdentityProvider, maria } from '../../src/demo/identity-provider.ts'
import { Place } from '../support/agentgate.ts'
import { fakeClock, fakeTime } from '../support/fake-time.ts'
import { describeWith } from '../support/needs.ts'
import { Owned } from '../support/owned.ts'

// A provider without TLS, on loopback: a certificate would not hold either.
describeWith('this machine’s clock is not the provider’s', [fakeClock], () => {
  const owned = new Owned()
  let idp: IdentityProvider

  beforeAll(async () => {
    idp = owned.add(await IdentityProvider.start())
  })
  afterAll(async () => await owned.close())

  const login = async (offset: string) => {
    const place = new Place(`version: 1\nissuers: [ { issuer: "${idp.issuer}", audience: ${demoClient} } ]\n`, {
      AGENTGATE_KEYCHAIN: 'off',
    })
    const trusted = await place.trusted()
    const off = { LD_PRELOAD: fakeTime ?? '', FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: '1' }
    const running = place.start(['login', ...trusted], off)
    await confirmAsPerson(await idp.nextCode(), maria)
    const finished = await running.finished()
    return { finished, whoami: async () => await place.run(['whoami', ...trusted], { env: off }) }
  }

  it.each(['+90s', '-90s'])('by a minute and a half (%s): it does not matter', async offset => {
    const { finished, whoami } = await login(offset)
    expect(finished).toMatchObject({ code: 0, stdout: expect.stringMatching(/^logged in as maria@shop\.example/) })
    expect((await whoami()).code).toBe(0)
  })

  it.each(['+90m', '-10m'])('by more than tokens can bear (%s): it is said what to look at', async offset => {
    const { finished } = await login(offset)
    expect(finished.code).toBe(3)
    expect(finished.stderr).toMatch(/clock/)
  })
})
