import { Paths } from '../config/paths.ts'
import { BrokerClient } from '../control/broker-client.ts'
import { KnownBrokers } from '../identity/known-brokers.ts'
import { brokerClient, brokerHere } from './broker-client.ts'
import type { Io } from './command.ts'
import { failed, type Finding } from './doctor-finding.ts'
import type { Globals } from './globals.ts'

/** The broker that commands go to, where there is one: that it is one, can be believed, and knows who asks. */
export async function* brokerFindings(globals: Globals, io: Io): AsyncGenerator<Finding> {
  const check = 'broker'
  try {
    const broker = brokerHere(io, globals)
    if (broker === undefined) return
    const { address } = broker
    const how = (io.env['AGENTGATE_BROKER'] ?? '') === '' ? 'as logged in to' : 'by AGENTGATE_BROKER'
    await new BrokerClient(broker, null).issuers()
    yield { check, state: 'ok', text: `broker ${address} answers (${how})` }
    const others = new KnownBrokers(new Paths(io.env)).list().filter(each => each.address !== address)
    if (others.length > 0)
      yield { check, state: 'ok', text: `also logged in to ${others.map(each => each.address).join(', ')}` }
    const { principal, administers } = await (await brokerClient(broker, io)).whoami()
    yield { check, state: 'ok', text: `broker: you are ${principal.name}${administers ? ', an administrator' : ''}` }
  } catch (error) {
    yield failed(error, { check })
  }
}
