import type { ActionView } from './action.ts'
import type { Place, Problem } from './problem.ts'
import { didYouMean, listed } from './suggest.ts'
import type { Subject } from './subject.ts'

/** What an expression sees. */
export interface ExpressionInput {
  readonly action: ActionView
  readonly subject: Subject
  readonly resource: string
  readonly scope: string
  /** The program at the other end of the socket, where known. */
  readonly client: string | null
}

export type ExpressionResult = 'true' | 'false' | 'failed' | 'too-costly'

/** A compiled `if:`; synchronous, side-effect free and of bounded cost. */
export interface Expression {
  evaluate(input: ExpressionInput): ExpressionResult
}

export type ExpressionCompiler = (text: string, place: Place) => Expression | Problem

/**
 * About the characters a pattern is run over: 200,000 take RE2 some 100 ms at its worst, 10 ms mostly (measured on
 * Node 20, @bufbuild/re2 0.6). Everything else costs a fraction of that.
 */
const maxCost = 200_000

const actionFields = ['kind', 'summary', 'text', 'effect', 'verbs', 'reads', 'writes', 'parameters', 'attributes']
const subjectFields = ['user', 'groups', 'actor', 'proven', 'confined', 'purpose', 'ticket']
const roots = ['action', 'subject', 'resource', 'scope', 'client']

/** Of the string extension, what cannot make more text than it is given. */
const stringFunctions = ['charAt', 'indexOf', 'lastIndexOf', 'lowerAscii', 'upperAscii', 'substring', 'trim']

class TooCostly extends Error {}

/** Loads the CEL library (CEL spec v0.24), which only policies with an `if:` need. */
export async function loadExpressionCompiler(): Promise<ExpressionCompiler> {
  const [cel, { strings }] = await Promise.all([import('@bufbuild/cel'), import('@bufbuild/cel/ext')])
  const environment = cel.celEnv({ funcs: [...strings].filter(one => stringFunctions.includes(one.name)) })
  let spent = 0
  const charge = (cost: number) => {
    spent += cost
    if (spent > maxCost) throw new TooCostly()
  }
  // Every call goes through here, and every turn of a loop, which `meterLoops` makes a call. What is thrown here is not
  // an error of CEL's, which `||` could swallow: it ends the evaluation.
  const metered = {
    ...environment,
    namespace: environment.namespace,
    registry: environment.registry,
    variables: environment.variables,
    funcs: {
      find: (name: string) => {
        if (name === tick)
          return { name, call: (_id: number, _target: unknown, args: unknown[]) => (charge(1), args[0]) }
        const group = environment.funcs.find(name)
        if (group === undefined) return undefined
        return {
          name,
          call: (id: number, target: unknown, args: unknown[]) => {
            charge(costOf(name, target, args))
            return group.call(id, target as never, args as never)
          },
        }
      },
    },
  }
  return (text, place) => {
    const wrong = (message: string, suggestion?: string, at?: Place): Problem => ({
      severity: 'error',
      place: at ?? place,
      message,
      suggestion,
    })
    let parsed: ReturnType<typeof cel.parse>
    try {
      parsed = cel.parse(text)
    } catch (error) {
      const position = error instanceof Error ? /<input>:1:([0-9]+)/.exec(error.message)?.[1] : undefined
      return wrong(
        'this cannot be read as a CEL expression',
        position === undefined ? undefined : `from its character ${position} on`,
      )
    }
    const problem = check(
      parsed.expr,
      new Set(roots),
      name => environment.funcs.find(name) !== undefined,
      () => [...new Set([...environment.funcs].map(one => one.name))],
    )
    if (problem !== undefined) return wrong(problem.message, problem.suggestion)
    meterLoops(parsed.expr)
    let run: (input: Record<string, unknown>) => unknown
    try {
      run = cel.plan(metered as unknown as typeof environment, parsed.expr) as typeof run
    } catch {
      return wrong('this CEL expression cannot be evaluated')
    }
    return {
      evaluate: input => {
        spent = 0
        const { principal, actor, confined, purpose, ticket } = input.subject
        const result = run({
          action: { parameters: [], ...input.action },
          subject: {
            user: principal.name,
            groups: principal.groups,
            actor: actor?.name ?? null,
            proven: actor?.proven ?? null,
            confined,
            purpose,
            ticket,
          },
          resource: input.resource,
          scope: input.scope,
          client: input.client,
        })
        if (typeof result === 'boolean') return result ? 'true' : 'false'
        return spent > maxCost ? 'too-costly' : 'failed'
      },
    }
  }
}

function costOf(name: string, target: unknown, args: readonly unknown[]): number {
  let cost = 1
  for (const value of target === undefined ? args : [target, ...args]) {
    if (typeof value === 'string') cost += name === 'matches' ? value.length : value.length / 20
    else if (typeof value === 'object' && value !== null && 'size' in value && typeof value.size === 'number')
      cost += value.size
  }
  // A pattern is compiled anew each time, and a longer one is slower on each character.
  const pattern = name === 'matches' ? args.at(-1) : undefined
  return typeof pattern === 'string' ? cost * (1 + pattern.length / 32) : cost
}

const tick = '@tick'

/** A node of CEL's syntax tree, as far as it is read here (cel/expr/syntax.proto). */
interface Node {
  exprKind: { case?: string | undefined; value?: unknown }
}

function meterLoops(node: Node): void {
  const { case: kind, value } = node.exprKind
  if (kind === 'comprehensionExpr' && typeof value === 'object' && value !== null && 'loopCondition' in value) {
    const condition = value.loopCondition as Node & { id: bigint }
    value.loopCondition = {
      $typeName: 'cel.expr.Expr',
      id: condition.id,
      exprKind: {
        case: 'callExpr',
        value: { $typeName: 'cel.expr.Expr.Call', function: tick, args: [condition] },
      },
    }
  }
  for (const child of childrenOf(node)) meterLoops(child)
}

function childrenOf(node: Node): Node[] {
  const found: Node[] = []
  const collect = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    if (Array.isArray(value)) value.forEach(collect)
    else if ('exprKind' in value) found.push(value as Node)
    else for (const inner of Object.values(value)) collect(inner)
  }
  collect(node.exprKind.value)
  return found
}

interface Wrong {
  readonly message: string
  readonly suggestion: string | undefined
}

/** Finds names that nothing stands behind: such an expression would fail each time, and deny. */
function check(
  node: Node,
  known: ReadonlySet<string>,
  isFunction: (name: string) => boolean,
  functions: () => readonly string[],
): Wrong | undefined {
  const { case: kind, value } = node.exprKind
  const part = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  let inner = known
  switch (kind) {
    case 'identExpr': {
      const name = String(part['name'])
      if (known.has(name)) return undefined
      const words = [...known].filter(word => !word.startsWith('@'))
      return {
        message: `unknown name "${name}"; expected one of ${listed(words)}`,
        suggestion: didYouMean(name, words),
      }
    }
    case 'selectExpr': {
      const operand = (part['operand'] as Node | undefined)?.exprKind
      const owner = operand?.case === 'identExpr' ? (operand.value as { name?: string }).name : undefined
      const fields = owner === 'action' ? actionFields : owner === 'subject' ? subjectFields : undefined
      const field = String(part['field'])
      if (owner !== undefined && fields !== undefined && !fields.includes(field))
        return {
          message: `${owner} has no "${field}"; it has ${listed(fields, 12)}`,
          suggestion: didYouMean(field, fields),
        }
      break
    }
    case 'callExpr': {
      const name = String(part['function'])
      if (!/^[@_!?\-[]/.test(name) && !isFunction(name)) {
        const words = functions().filter(word => /^[a-z]/i.test(word))
        return { message: `unknown function "${name}"`, suggestion: didYouMean(name, words) }
      }
      break
    }
    case 'comprehensionExpr':
      inner = new Set([...known, String(part['iterVar']), String(part['iterVar2']), String(part['accuVar'])])
      break
    default:
  }
  for (const child of childrenOf(node)) {
    const wrong = check(child, inner, isFunction, functions)
    if (wrong !== undefined) return wrong
  }
  return undefined
}
