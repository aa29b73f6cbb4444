import type { Node, TypeName } from 'libpg-query'

type Union<T> = (T extends unknown ? (value: T) => void : never) extends (value: infer All) => void ? All : never
/** Every kind of node by its tag. */
export type Nodes = Union<Node>
export type Tag = keyof Nodes

export function tagOf(node: Node): Tag {
  for (const tag in node) return tag as Tag
  return 'A_Star' // an empty object is no node; a star without a table resolves to nothing
}

/** The node's content where it is of this kind. */
export function as<Kind extends Tag>(node: Node | undefined, tag: Kind): Nodes[Kind] | undefined {
  return node === undefined ? undefined : (node as Partial<Nodes>)[tag]
}

/** The texts of a list of String nodes: a qualified name. */
export function namesOf(nodes: readonly Node[] | undefined): string[] {
  const names: string[] = []
  for (const node of nodes ?? []) names.push(as(node, 'String')?.sval ?? '')
  return names
}

export function typeNames(type: TypeName | undefined): string[] {
  return namesOf(type?.names)
}

/** The text of a string constant, also behind a cast. */
export function constantText(node: Node | undefined): string | undefined {
  const constant = as(node, 'A_Const')
  if (constant) return constant.sval?.sval
  const cast = as(node, 'TypeCast')
  return cast ? constantText(cast.arg) : undefined
}
