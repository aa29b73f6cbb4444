import { harmlessBuiltins } from './builtin-names.ts'

/** What calling a function of pg_catalog does. */
export type Builtin =
  /** Reads its arguments and what any role may see. */
  | { readonly kind: 'harmless' }
  /** Its result may hold values of tables (other sessions' statements, large objects). */
  | { readonly kind: 'samples' }
  /** Alters something; `samples` as above. `carries`: its arguments go to a place where others can read them. */
  | { readonly kind: 'change'; readonly verb: string; readonly samples: boolean; readonly carries: boolean }
  | { readonly kind: 'set-config' }
  | { readonly kind: 'sequence' }
  /** Whatever SQL it is given, the server's files, or worse. */
  | { readonly kind: 'unknown'; readonly why: string }

const harmless: Builtin = { kind: 'harmless' }
const samples: Builtin = { kind: 'samples' }
const admin: Builtin = { kind: 'change', verb: 'admin', samples: false, carries: false }
const largeObject: Builtin = { kind: 'change', verb: 'large-object', samples: true, carries: true }
const files: Builtin = { kind: 'unknown', why: "reads or writes the server's files" }
const sql: Builtin = { kind: 'unknown', why: 'runs SQL that it is given as text' }
const replication: Builtin = { kind: 'unknown', why: 'reads or alters replication' }
const internals: Builtin = { kind: 'unknown', why: "alters the server's internals" }

const known = new Map<string, Builtin>([
  ['set_config', { kind: 'set-config' }],
  ['nextval', { kind: 'sequence' }],
  ['setval', { kind: 'sequence' }],
  ['pg_notify', { kind: 'change', verb: 'notify', samples: false, carries: true }],
])
function add(builtin: Builtin, names: string): void {
  for (const name of names.trim().split(/\s+/)) known.set(name, builtin)
}
add(
  samples,
  'pg_cursor pg_prepared_statement pg_stat_get_activity pg_stat_get_backend_activity pg_stats_ext_mcvlist_items pg_mcv_list_items',
)
add(
  largeObject,
  `lo_close lo_creat lo_create lo_from_bytea lo_get lo_lseek lo_lseek64 lo_open lo_put lo_tell lo_tell64 lo_truncate
   lo_truncate64 lo_unlink loread lowrite`,
)
add(
  files,
  `lo_import lo_export pg_read_file pg_read_file_old pg_read_binary_file pg_stat_file pg_ls_dir pg_ls_logdir pg_ls_waldir
   pg_ls_tmpdir pg_ls_archive_statusdir pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir pg_ls_summariesdir
   pg_show_all_file_settings pg_hba_file_rules pg_ident_file_mappings pg_file_write pg_file_read pg_file_rename
   pg_file_unlink pg_file_sync pg_logdir_ls`,
)
add(
  sql,
  `query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml
   table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema schema_to_xml_and_xmlschema
   database_to_xml database_to_xmlschema database_to_xml_and_xmlschema ts_stat ts_rewrite currtid currtid2`,
)
add(
  replication,
  `pg_logical_slot_get_changes pg_logical_slot_get_binary_changes pg_logical_slot_peek_changes
   pg_logical_slot_peek_binary_changes pg_logical_emit_message pg_create_logical_replication_slot
   pg_create_physical_replication_slot pg_copy_logical_replication_slot pg_copy_physical_replication_slot
   pg_drop_replication_slot pg_replication_slot_advance pg_sync_replication_slots pg_replication_origin_advance
   pg_replication_origin_create pg_replication_origin_drop pg_replication_origin_session_reset
   pg_replication_origin_session_setup pg_replication_origin_xact_reset pg_replication_origin_xact_setup`,
)
add(
  internals,
  `pg_nextoid pg_stop_making_pinned_objects pg_extension_config_dump pg_restore_attribute_stats
   pg_restore_relation_stats pg_clear_attribute_stats pg_clear_relation_stats`,
)
add(
  admin,
  `pg_terminate_backend pg_cancel_backend pg_reload_conf pg_rotate_logfile pg_rotate_logfile_old pg_switch_wal
   pg_create_restore_point pg_backup_start pg_backup_stop pg_start_backup pg_stop_backup pg_promote pg_wal_replay_pause
   pg_wal_replay_resume pg_log_backend_memory_contexts pg_log_standby_snapshot pg_import_system_collations
   pg_stat_reset pg_stat_reset_shared pg_stat_reset_slru pg_stat_reset_single_table_counters
   pg_stat_reset_single_function_counters pg_stat_reset_replication_slot pg_stat_reset_subscription_stats
   pg_stat_reset_backend_stats brin_desummarize_range brin_summarize_new_values brin_summarize_range
   gin_clean_pending_list`,
)

/** undefined: no function of pg_catalog that is known here, so nothing may be assumed of it. */
export function builtin(name: string): Builtin | undefined {
  return known.get(name) ?? (harmlessBuiltins.has(name) ? harmless : undefined)
}

/** Extensions whose functions in C compute from their arguments alone, where declared immutable or stable. */
export const pureExtensions: ReadonlySet<string> = new Set(
  `btree_gin btree_gist citext cube earthdistance fuzzystrmatch hstore intarray isn ltree pg_trgm pgcrypto plpgsql postgis
   postgis_raster postgis_topology seg unaccent uuid-ossp vector halfvec`.split(/\s+/),
)

/** Settings that change how later statements are read or resolved, or what runs unseen. */
export const resolvingSettings: ReadonlySet<string> = new Set([
  'search_path',
  'role',
  'session_authorization',
  'standard_conforming_strings',
  'client_encoding',
  'backslash_quote',
  'session_replication_role',
  'row_security',
  'transform_null_equals',
  'xmloption',
  'plpgsql.variable_conflict',
  'local_preload_libraries',
  'session_preload_libraries',
  'dynamic_library_path',
])

/** Relations of the system whose columns hold values of tables or other sessions' statements: `relation` → columns. */
export const samplingRelations: ReadonlyMap<string, ReadonlySet<string> | 'all'> = new Map<
  string,
  ReadonlySet<string> | 'all'
>([
  ['pg_catalog.pg_statistic', 'all'],
  ['pg_catalog.pg_statistic_ext_data', 'all'],
  [
    'pg_catalog.pg_stats',
    new Set([
      'most_common_vals',
      'histogram_bounds',
      'most_common_elems',
      'range_length_histogram',
      'range_bounds_histogram',
    ]),
  ],
  ['pg_catalog.pg_stats_ext', 'all'],
  ['pg_catalog.pg_stats_ext_exprs', 'all'],
  ['pg_catalog.pg_stat_activity', new Set(['query'])],
  ['pg_catalog.pg_prepared_statements', new Set(['statement'])],
  ['pg_catalog.pg_cursors', new Set(['statement'])],
  ['pg_catalog.pg_largeobject', 'all'],
])
