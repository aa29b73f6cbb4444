import { isDeepStrictEqual } from 'node:util'
import type { Environment } from '../config/paths.ts'
import type * as schema from '../control/broker-schema.ts'
import { AgentgateError } from '../errors.ts'
import { checkPolicy, lockedOut } from '../policy/check.ts'
import type { CompiledPolicy } from '../policy/compile.ts'
import { PolicyInvalid } from '../policy/document.ts'
import { compileFiles, type LoadedPolicy } from '../policy/load.ts'
import { policyFilesOf } from '../policy/policy-files.ts'
import type { PolicyKinds } from '../policy/policy.ts'
import { readTestFile, runTestCase } from '../policy/test-cases.ts'
import { contentOf } from './policy-content.ts'
import type { PolicyStore } from './policy-store.ts'
import type { Store } from './store.ts'

const maxShownFailures = 10

export interface PolicyDeskOptions {
  readonly store: Store
  /** What the broker began with. */
  readonly file: LoadedPolicy
  /** Whether administrators may push another; else the file alone counts. */
  readonly takesPushes: boolean
  readonly kinds: PolicyKinds
  readonly env: Environment
  /** Whether it listens where only a token says who asks. */
  readonly network: boolean
  readonly onTrouble: (text: string) => void
}

/** Where another policy counts from now on. */
type Apply = (policy: LoadedPolicy, by: string | null) => void

/** Which policy counts: the file that the broker was given, or what administrators have pushed since. */
export class PolicyDesk {
  readonly #options: PolicyDeskOptions
  readonly #policies: PolicyStore
  #file: LoadedPolicy
  #current: LoadedPolicy
  /** Of the pushed one that counts here; 0: the file does. */
  #number = 0
  /** Of one that cannot be used here, so that it is told of once. */
  #refused = 0
  #apply: Apply = () => undefined
  #looking: Promise<void> = Promise.resolve()

  private constructor(options: PolicyDeskOptions) {
    this.#options = options
    this.#policies = options.store.policies
    this.#file = options.file
    this.#current = options.file
  }

  /** @throws AgentgateError POLICY_INVALID: what was pushed last is none to this version; STORE_FAILED */
  static async open(options: PolicyDeskOptions): Promise<PolicyDesk> {
    const desk = new PolicyDesk(options)
    const newest = await desk.#policies.newest()
    if (newest === 0) return desk
    if (!options.takesPushes) {
      options.onTrouble(
        `what was pushed last does not count, as ${options.file.path} does: to let it, start the broker with --pushed-policy`,
      )
      return desk
    }
    await desk.#load(newest)
    return desk
  }

  get current(): LoadedPolicy {
    return this.#current
  }

  /** What is done with another from now on. */
  follow(apply: Apply): void {
    this.#apply = apply
  }

  /** The file has changed, and is trusted. */
  replaceFile(file: LoadedPolicy): void {
    this.#file = file
    const locked = lockedOut(file.policy)
    if (this.#number > 0) {
      this.#options.onTrouble(
        `${file.path} has changed, and does not count: what was pushed does (agentgate policy push)`,
      )
      return
    }
    if (locked !== undefined) this.#options.onTrouble(`${file.path} has changed: ${locked}`)
    this.#current = file
    this.#apply(file, null)
  }

  /** What others on the store were sent. What cannot be used here changes nothing, and is told of. */
  async look(): Promise<void> {
    // One after the other: a slow one must not be overtaken by a newer.
    const looked = this.#looking.then(async () => await this.#look())
    this.#looking = looked.catch(() => undefined)
    await looked
  }

  async #look(): Promise<void> {
    if (!this.#options.takesPushes) return
    const newest = await this.#policies.newest()
    if (newest <= this.#number || newest === this.#refused) return
    try {
      const by = await this.#load(newest)
      this.#apply(this.#current, by)
    } catch (error) {
      if (!(error instanceof AgentgateError) || error.code === 'STORE_FAILED') throw error
      this.#refused = newest
      this.#options.onTrouble(`what was pushed cannot be used here, so what held before still holds: ${error.message}`)
    }
  }

  /** @throws AgentgateError USAGE: there never was one with that digest */
  async describe(digest: string | null): Promise<schema.PolicyAnswer> {
    const about = {
      takesPushes: this.#options.takesPushes,
      current: this.#current.digest,
      path: this.#number === 0 ? this.#file.path : null,
    }
    if (digest === null || digest === this.#current.digest) return { ...about, policy: contentOf(this.#current) }
    const found = await this.#policies.byDigest(digest)
    if (found === undefined)
      throw new AgentgateError('USAGE', 'the broker never had a policy with that digest', {
        hint: 'agentgate policy history',
      })
    return { ...about, policy: JSON.parse(found.content) as schema.PolicyContent }
  }

  async history(): Promise<schema.PolicyHistory> {
    const policies = await this.#policies.list()
    return {
      policies: policies.map(({ number, digest, pushed_by, at }) => ({ number, digest, by: pushed_by, at })),
      current: this.#current.digest,
    }
  }

  /**
   * Lets another policy count, once it has been looked at like any other.
   * @param staysAdministrator whether whoever pushes would still be one under it
   * @throws AgentgateError POLICY_INVALID, VERIFICATION_FAILED (its cases), DENIED (it locks out, and that was not asked for),
   *   POLICY_CHANGED (another was first), USAGE
   */
  async push(
    pushed: schema.PolicyPush,
    by: string,
    staysAdministrator: (policy: CompiledPolicy) => Promise<boolean>,
  ): Promise<schema.PolicyPushed> {
    this.#requirePushes()
    await this.look()
    const number = this.#number
    if (pushed.base !== this.#current.digest) throw changedMeanwhile(this.#current.digest)
    const loaded = await this.#compile(pushed.policy)
    const { policy, digest } = loaded
    const wrong = checkPolicy(policy).filter(problem => problem.severity === 'error')
    if (wrong.length > 0) throw new PolicyInvalid(loaded.files[0]?.name ?? 'agentgate.yaml', wrong)
    this.#refuseTheOperators(policy)
    const cases = await runCases(policy, pushed.tests)
    const warnings: string[] = []
    const locked = lockedOut(policy)
    if (locked !== undefined) warnings.push(locked)
    if (!(await staysAdministrator(policy)))
      warnings.push('you would administer nothing any more, and could not take it back')
    const answer = { digest, before: this.#current.digest, cases, warnings }
    if (pushed.check || digest === this.#current.digest) return { ...answer, changed: false }
    if (warnings.length > 0 && !pushed.force)
      throw new AgentgateError('DENIED', `the policy was not taken: ${warnings.join('; ')}`, {
        hint: 'where that is meant: agentgate policy push --force',
      })
    const at = this.#options.store.now().toISOString()
    const row = (content: schema.PolicyContent, pushedBy: string | null) => ({
      ...{ digest: content.digest, content: JSON.stringify(content) },
      ...{ pushed_by: pushedBy, at },
    })
    const first = number === 0 ? [row(contentOf(this.#file), null)] : []
    if (!(await this.#policies.add(number, [...first, row(pushed.policy, by)]))) {
      await this.look()
      throw changedMeanwhile(this.#current.digest)
    }
    await this.#options.store.audit({ at, kind: 'policy-pushed', by, about: digest, detail: answer.before })
    await this.look()
    return { ...answer, changed: true }
  }

  #requirePushes(): void {
    if (this.#options.takesPushes) return
    throw new AgentgateError(
      'USAGE',
      `the policy of this broker is the file ${this.#file.path}, and none that is pushed`,
      {
        hint: 'change it there, or have the broker started with --pushed-policy',
      },
    )
  }

  /** Returns who pushed it. */
  async #load(number: number): Promise<string | null> {
    const row = await this.#policies.byNumber(number)
    if (row === undefined) throw new AgentgateError('STORE_FAILED', 'the broker’s store has lost a policy')
    const loaded = await this.#compile(JSON.parse(row.content) as schema.PolicyContent)
    this.#refuseSolo(loaded.policy)
    this.#current = loaded
    this.#number = number
    return row.pushed_by
  }

  async #compile(content: schema.PolicyContent): Promise<LoadedPolicy> {
    const { env, kinds } = this.#options
    const files = policyFilesOf(content.kind, content.files, this.#file.folder)
    if (files.digest !== content.digest) throw new AgentgateError('USAGE', 'the policy is not what its digest says')
    return await compileFiles(files, { cwd: files.folder, env, kinds, digest: files.digest })
  }

  #refuseSolo(policy: CompiledPolicy): void {
    if (this.#options.network && policy.solo)
      throw new AgentgateError('DENIED', 'it names no issuers, so nobody could say who they are over the network')
  }

  /**
   * What reaches into the machine that the broker runs on stays with whoever runs it: a policy that comes over the network names
   * no secret, command or file that the broker was not started with, and has no say in where evidence goes.
   */
  #refuseTheOperators(policy: CompiledPolicy): void {
    this.#refuseSolo(policy)
    const { policy: file, path } = this.#file
    const known = new Set(file.references().map(each => each.text))
    const strange = policy.references().filter(each => !known.has(each.text))
    const theirs = (what: string) =>
      new AgentgateError('DENIED', `the policy was not taken: ${what}`, {
        hint: `whoever runs the broker puts it into ${path} first`,
      })
    if (strange.length > 0)
      throw theirs(`${strange.map(each => each.text).join(', ')} is nothing that the broker was started with`)
    if (!isDeepStrictEqual(policy.audit, file.audit))
      throw theirs('where audit events go is not for a pushed policy to say')
    if (!isDeepStrictEqual(policy.recording.sync, file.recording.sync))
      throw theirs('where recordings go is not for a pushed policy to say')
  }
}

/** How many passed. @throws AgentgateError POLICY_INVALID, VERIFICATION_FAILED */
async function runCases(policy: CompiledPolicy, tests: schema.PolicyPush['tests']): Promise<number> {
  const failed: string[] = []
  let passed = 0
  for (const { name, text } of tests) {
    const read = readTestFile({ name, shown: name, bytes: Buffer.from(text) })
    if (read.kind === 'wrong') throw new PolicyInvalid(name, read.problems)
    for (const each of read.cases) {
      const result = await runTestCase(policy, each, Date.now())
      if (result.kind === 'passed') passed += 1
      else failed.push(`${each.name}: ${result.message}`)
    }
  }
  if (failed.length === 0) return passed
  const shown = failed.slice(0, maxShownFailures)
  const more = failed.length > shown.length ? [`and ${failed.length - shown.length} more`] : []
  throw new AgentgateError(
    'VERIFICATION_FAILED',
    `${failed.length} of its cases fail\n${[...shown, ...more].join('\n')}`,
    {
      hint: 'agentgate policy test',
    },
  )
}

function changedMeanwhile(current: string): AgentgateError {
  return new AgentgateError('POLICY_CHANGED', `another policy counts meanwhile (${current.slice(0, 15)}…)`, {
    hint: 'look at the difference once more: agentgate policy push',
  })
}
