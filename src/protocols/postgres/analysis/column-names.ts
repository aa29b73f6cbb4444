import type { Node } from 'libpg-query'
import { as, namesOf, tagOf, typeNames } from './nodes.ts'
import type { Tag } from './nodes.ts'

/** The name that the server gives an unnamed output column (FigureColname, src/backend/parser/parse_target.c). */
export function columnName(node: Node | undefined): string {
  return (node && figure(node)[0]) ?? '?column?'
}

type Figured = readonly [name: string | undefined, strength: 0 | 1 | 2]
const unnamed: Figured = [undefined, 0]

const fixed: Readonly<Partial<Record<Tag, string>>> = {
  A_ArrayExpr: 'array',
  RowExpr: 'row',
  CoalesceExpr: 'coalesce',
  GroupingFunc: 'grouping',
  MergeSupportFunc: 'merge_action',
  XmlSerialize: 'xmlserialize',
  JsonParseExpr: 'json',
  JsonScalarExpr: 'json_scalar',
  JsonSerializeExpr: 'json_serialize',
  JsonObjectConstructor: 'json_object',
  JsonArrayConstructor: 'json_array',
  JsonArrayQueryConstructor: 'json_array',
  JsonObjectAgg: 'json_objectagg',
  JsonArrayAgg: 'json_arrayagg',
}
const valueFunctions: Readonly<Record<string, string>> = {
  SVFOP_CURRENT_DATE: 'current_date',
  SVFOP_CURRENT_TIME: 'current_time',
  SVFOP_CURRENT_TIME_N: 'current_time',
  SVFOP_CURRENT_TIMESTAMP: 'current_timestamp',
  SVFOP_CURRENT_TIMESTAMP_N: 'current_timestamp',
  SVFOP_LOCALTIME: 'localtime',
  SVFOP_LOCALTIME_N: 'localtime',
  SVFOP_LOCALTIMESTAMP: 'localtimestamp',
  SVFOP_LOCALTIMESTAMP_N: 'localtimestamp',
  SVFOP_CURRENT_ROLE: 'current_role',
  SVFOP_CURRENT_USER: 'current_user',
  SVFOP_USER: 'user',
  SVFOP_SESSION_USER: 'session_user',
  SVFOP_CURRENT_CATALOG: 'current_catalog',
  SVFOP_CURRENT_SCHEMA: 'current_schema',
}
const xmlNames: Readonly<Record<string, string>> = {
  IS_XMLCONCAT: 'xmlconcat',
  IS_XMLELEMENT: 'xmlelement',
  IS_XMLFOREST: 'xmlforest',
  IS_XMLPARSE: 'xmlparse',
  IS_XMLPI: 'xmlpi',
  IS_XMLROOT: 'xmlroot',
  IS_XMLSERIALIZE: 'xmlserialize',
}
const jsonNames: Readonly<Record<string, string>> = {
  JSON_EXISTS_OP: 'json_exists',
  JSON_QUERY_OP: 'json_query',
  JSON_VALUE_OP: 'json_value',
}

function figure(node: Node): Figured {
  const tag = tagOf(node)
  const always = fixed[tag]
  if (always !== undefined) return [always, 2]
  switch (tag) {
    case 'ColumnRef':
      return [namesOf(as(node, tag)?.fields).findLast(name => name !== ''), 2]
    case 'A_Indirection': {
      const indirection = as(node, tag)
      const name = namesOf(indirection?.indirection).findLast(part => part !== '')
      if (name !== undefined) return [name, 2]
      return indirection?.arg ? figure(indirection.arg) : unnamed
    }
    case 'FuncCall':
      return [namesOf(as(node, tag)?.funcname).at(-1), 2]
    case 'A_Expr':
      return as(node, tag)?.kind === 'AEXPR_NULLIF' ? ['nullif', 2] : unnamed
    case 'TypeCast': {
      const cast = as(node, tag)
      const inner = cast?.arg ? figure(cast.arg) : unnamed
      return inner[1] <= 1 && cast?.typeName ? [typeNames(cast.typeName).at(-1), 1] : inner
    }
    case 'CollateClause': {
      const inner = as(node, tag)?.arg
      return inner ? figure(inner) : unnamed
    }
    case 'CaseExpr': {
      const otherwise = as(node, tag)?.defresult
      const inner = otherwise ? figure(otherwise) : unnamed
      return inner[1] <= 1 ? ['case', 1] : inner
    }
    case 'MinMaxExpr':
      return [as(node, tag)?.op === 'IS_LEAST' ? 'least' : 'greatest', 2]
    case 'SQLValueFunction':
      return [valueFunctions[as(node, tag)?.op ?? ''], 2]
    case 'XmlExpr':
      return [xmlNames[as(node, tag)?.op ?? ''], 2]
    case 'JsonFuncExpr':
      return [jsonNames[as(node, tag)?.op ?? ''], 2]
    case 'SubLink': {
      const link = as(node, tag)
      if (link?.subLinkType === 'EXISTS_SUBLINK') return ['exists', 2]
      if (link?.subLinkType === 'ARRAY_SUBLINK') return ['array', 2]
      if (link?.subLinkType !== 'EXPR_SUBLINK') return unnamed
      const select = as(link.subselect, 'SelectStmt')
      if (select?.valuesLists) return ['column1', 2]
      let first = select
      while (first?.larg) first = first.larg
      const target = as(first?.targetList?.[0], 'ResTarget')
      if (!target) return unnamed
      return [target.name ?? columnName(target.val), 2]
    }
    default:
      return unnamed
  }
}
