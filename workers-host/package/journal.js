// The journal: an ordered map of bytes in the object's own storage. In SQLite where the class has it; else in the
// key-value storage that classes of `new_classes` have, within its limits of 128 KiB a value and 128 keys a call.

import { messageOf } from './store.js';

/** @typedef {import('./machine.js').Write} Write */
/** @typedef {import('./machine.js').Entry} Entry */
/** @typedef {import('./machine.js').Range} Range */

/**
 * @typedef {object} Journal
 * @property {(range: Range, keysOnly: boolean, limit: number | null) => Promise<Entry[]>} load
 * @property {(writes: Write[]) => void} save all of them or none; throws if none
 * @property {() => Promise<void>} sync resolves when all saves so far are durable
 * @property {boolean} hasSmallRows a value may take many of them
 * @property {number} rowsWritten since the object woke, as they are billed
 */

/**
 * @param {DurableObjectStorage} storage
 * @returns {Journal}
 */
export function openJournal(storage) {
  return hasSql(storage) ? new SqlJournal(storage) : new KeyValueJournal(storage);
}

/**
 * Only trying tells. Any other error than that there is none keeps a life from beginning: in the other storage it would be
 * another lake.
 * @param {DurableObjectStorage} storage
 */
function hasSql(storage) {
  try {
    storage.sql.exec('SELECT 1').toArray();
    return true;
  } catch (error) {
    if (NO_SQL.test(messageOf(error))) return false;
    throw error;
  }
}

/** How the runtime says that a class has no SQLite. */
const NO_SQL = /SQL is not enabled|not backed by SQL/;

const NOTHING = new Uint8Array(0);

/** A row may have 2 MB, with its key. What is longer stands in pieces in a table of its own. */
const ROW_BYTES = 1_500_000;

/**
 * Two tables, each without an index of its own, so that an entry is one row: rows written are what costs. Batches are
 * found by the ordinal of their key, since to compare a key that is not a number SQLite reads all of its row, and theirs
 * are long.
 */
class SqlJournal {
  #storage;
  /** Keys, as text, of values in pieces. Whatever is written over or removed was loaded or written before. */
  #long = new Set();
  hasSmallRows = false;
  rowsWritten = 0;

  /** @param {DurableObjectStorage} storage */
  constructor(storage) {
    this.#storage = storage;
    storage.sql.exec('CREATE TABLE IF NOT EXISTS dolake_journal (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID');
    storage.sql.exec(
      'CREATE TABLE IF NOT EXISTS dolake_batches (ordinal INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB NOT NULL)',
    );
  }

  /** @type {Journal['load']} */
  async load({ from, until, ordinals }, keysOnly, limit) {
    const columns = keysOnly ? 'key' : 'key, value';
    const [table, order, first, end] =
      ordinals === null ? ['dolake_journal', 'key', from, until] : ['dolake_batches', 'ordinal', ordinals.first, ordinals.end];
    const rows = this.#storage.sql
      .exec(`SELECT ${columns} FROM ${table} WHERE ${order} >= ? AND ${order} < ? ORDER BY ${order} LIMIT ?`, first, end, limit ?? -1)
      .raw();
    const entries = [];
    for (const [key, value] of [...rows]) {
      /** @type {Entry} */
      const entry = { key: bytes(key), value: keysOnly ? NOTHING : bytes(value) };
      if (!keysOnly && ordinals === null && entry.value.length === 0) entry.value = this.#pieces(entry.key);
      entries.push(entry);
    }
    return entries;
  }

  /** Most objects never need this table. */
  #makePieces() {
    this.#storage.sql.exec(
      'CREATE TABLE IF NOT EXISTS dolake_pieces (key BLOB, piece INTEGER, value BLOB NOT NULL, PRIMARY KEY (key, piece)) WITHOUT ROWID',
    );
  }

  /** The value of a row that is empty: nothing, or pieces. @param {Uint8Array} key */
  #pieces(key) {
    this.#makePieces();
    const rows = this.#storage.sql.exec('SELECT value FROM dolake_pieces WHERE key = ? ORDER BY piece', key).raw();
    const parts = [...rows].map(([value]) => bytes(value));
    if (parts.length > 0) this.#long.add(nameOf(key));
    return joined(parts);
  }

  /** @type {Journal['save']} */
  save(writes) {
    const { sql } = this.#storage;
    let rows = 0;
    this.#storage.transactionSync(() => {
      for (const write of writes) rows += write.ordinal === null ? this.#write(write) : writeBatch(sql, write).rowsWritten;
    });
    this.rowsWritten += rows;
  }

  /** Writes an entry that is no batch. Returns how many rows that took. @param {Write} write */
  #write({ key, value }) {
    const { sql } = this.#storage;
    const isLong = value !== null && value.length > ROW_BYTES;
    let rows = 0;
    const name = isLong || this.#long.size > 0 ? nameOf(key) : '';
    if (isLong || this.#long.has(name)) {
      // A transaction that failed leaves a name too many in the set, and perhaps no table.
      this.#makePieces();
      rows += sql.exec('DELETE FROM dolake_pieces WHERE key = ?', key).rowsWritten;
      this.#long.add(name);
    }
    for (let at = 0; isLong && at < value.length; at += ROW_BYTES) {
      const piece = value.subarray(at, at + ROW_BYTES);
      rows += sql.exec('INSERT INTO dolake_pieces VALUES (?, ?, ?)', key, at / ROW_BYTES, piece).rowsWritten;
    }
    const done =
      value === null
        ? sql.exec('DELETE FROM dolake_journal WHERE key = ?', key)
        : sql.exec('INSERT OR REPLACE INTO dolake_journal VALUES (?, ?)', key, isLong ? NOTHING : value);
    return rows + done.rowsWritten;
  }

  sync() {
    return this.#storage.sync();
  }
}

/** @param {SqlStorage} sql @param {Write} write */
function writeBatch(sql, { ordinal, key, value }) {
  return value === null
    ? sql.exec('DELETE FROM dolake_batches WHERE ordinal = ?', ordinal)
    : sql.exec('INSERT OR REPLACE INTO dolake_batches VALUES (?, ?, ?)', ordinal, key, value);
}

/** @param {SqlStorageValue | undefined} value */
function bytes(value) {
  return value instanceof ArrayBuffer ? new Uint8Array(value) : NOTHING;
}

/** What a value may have, so that with its key it stays below the documented 128 KiB. */
const PIECE_BYTES = 120 << 10;

/** Documented limit of keys in one call. */
const CALL_KEYS = 128;

/** Values that are listed first; a list brings its values along, so a page grows only where they are small. */
const PAGE_KEYS = 32;
const PAGE_KEYS_MAX = 256;
const PAGE_BYTES = 2 << 20;

/** Documented limit of a key, in bytes of UTF-8. */
const KEY_BYTES_MAX = 2_048;

/**
 * What is left of the name of a batch's entry that is longer. It begins with the entry's number, so that it stays the only
 * one of its kind, and in its place; the whole key stands beside the value.
 */
const CUT_CHARACTERS = 900;

const encoder = new TextEncoder();

/** Stands between a key and the number of a piece. Below all that a key's bytes become, so pieces sort with their key. */
const PIECE_MARK = '!';
const PIECE_DIGITS = 4;
const PIECE_SUFFIX = PIECE_MARK.length + PIECE_DIGITS;

/** What byte 0 of a key becomes; the others follow. Order of characters is then order of bytes. */
const FIRST_CHARACTER = 0x30;

/** @typedef {{ key: Uint8Array, value: Uint8Array }} Whole the first piece of an entry whose name was cut */

/** Entries as keys of text, cut into pieces where they are too long for one. */
export class KeyValueJournal {
  #storage;
  /** Pieces of the entries that have more than one. Whatever is written over or removed was loaded or written before. */
  #pieces = new Map();
  /** Why a call was turned down since the last `sync`. @type {unknown} */
  #turnedDown = null;
  hasSmallRows = true;
  rowsWritten = 0;

  /** @param {Pick<DurableObjectStorage, 'list' | 'put' | 'delete' | 'sync'>} storage */
  constructor(storage) {
    this.#storage = storage;
  }

  /** @type {Journal['load']} */
  async load({ from, until }, keysOnly, limit) {
    /** @type {{ name: string, key: Uint8Array, parts: Uint8Array[], count: number }[]} */
    const found = [];
    const end = nameOf(until);
    let start = nameOf(from);
    let wanted = PAGE_KEYS;
    for (let more = true; more; ) {
      const page = await this.#storage.list({ start, end, limit: wanted, allowConcurrency: true, noCache: true });
      more = page.size === wanted;
      let length = 0;
      for (const [full, stored] of page) {
        const { key, value } = /** @type {Whole} */ (stored instanceof Uint8Array ? { key: null, value: stored } : stored);
        length += value.length;
        start = `${full}${PIECE_MARK}`;
        const name = full.slice(0, full.indexOf(PIECE_MARK));
        if (found.at(-1)?.name !== name) {
          if (found.length === limit) {
            more = false;
            break;
          }
          found.push({ name, key: key ?? keyOf(name), parts: [], count: 0 });
        }
        const entry = /** @type {typeof found[0]} */ (found.at(-1));
        entry.count += 1;
        if (!keysOnly) entry.parts.push(value);
      }
      wanted = Math.min(PAGE_KEYS_MAX, length < PAGE_BYTES ? 2 * wanted : PAGE_KEYS);
    }
    for (const { name, count } of found) this.#remember(name, count);
    return found.map(({ key, parts }) => ({ key, value: joined(parts) }));
  }

  /**
   * Calls that are made without waiting in between take effect together or not at all.
   * @type {Journal['save']}
   */
  save(writes) {
    // All that can fail comes before the first call: what was called takes effect.
    const entries = writes.map(entryOf);
    for (const { name, pieces } of entries) {
      const [before, after] = [this.#pieces.get(name) ?? 1, pieces.length];
      for (const [at, piece] of pieces.entries()) this.#put(pieceOf(name, at), piece);
      this.#delete(Array.from({ length: Math.max(0, before - after) }, (_, at) => pieceOf(name, after + at)));
      this.#remember(name, after);
    }
  }

  /** @param {string} name @param {number} count */
  #remember(name, count) {
    if (count > 1) {
      this.#pieces.set(name, count);
    } else {
      this.#pieces.delete(name);
    }
  }

  /** @param {string} name @param {Uint8Array | Whole} value */
  #put(name, value) {
    this.rowsWritten += 1;
    this.#watch(this.#storage.put(name, value, UNGATED));
  }

  /** @param {string[]} names */
  #delete(names) {
    this.rowsWritten += names.length;
    for (let at = 0; at < names.length; at += CALL_KEYS) {
      this.#watch(this.#storage.delete(names.slice(at, at + CALL_KEYS), UNGATED));
    }
  }

  /** Storage that fails says so to `sync`; a call that it turns down says so alone. @param {Promise<unknown>} call */
  #watch(call) {
    call.catch((error) => (this.#turnedDown ??= error));
  }

  async sync() {
    await this.#storage.sync();
    const turnedDown = this.#turnedDown;
    this.#turnedDown = null;
    if (turnedDown !== null) throw turnedDown;
  }
}

/** Nothing that needs these writes leaves before `sync`, so the object's output need not wait for them. */
const UNGATED = Object.freeze({ allowUnconfirmed: true, allowConcurrency: true, noCache: true });

/** @param {Uint8Array} key */
function nameOf(key) {
  let name = '';
  for (const byte of key) name += String.fromCharCode(FIRST_CHARACTER + byte);
  return name;
}

/**
 * The name of an entry, and its value in pieces; none where it is removed.
 * @param {Write} write @returns {{ name: string, pieces: (Uint8Array | Whole)[] }}
 */
function entryOf({ ordinal, key, value }) {
  const whole = nameOf(key);
  const isLong = encoder.encode(whole).length > KEY_BYTES_MAX - PIECE_SUFFIX;
  // Storage would turn it down alone, and take the rest.
  if (isLong && ordinal === null) throw new Error(`expected keys of at most ${KEY_BYTES_MAX} bytes, got ${whole.length} characters`);
  /** @type {(Uint8Array | Whole)[]} */
  const pieces = [];
  for (let at = 0; value !== null && (at === 0 || at < value.length); at += PIECE_BYTES) {
    // Copies: storing a view would store the whole memory behind it.
    const piece = value.slice(at, at + PIECE_BYTES);
    pieces.push(isLong && at === 0 ? { key: key.slice(), value: piece } : piece);
  }
  return { name: isLong ? whole.slice(0, CUT_CHARACTERS) : whole, pieces };
}

/** @param {string} name */
function keyOf(name) {
  return Uint8Array.from(name, (character) => character.charCodeAt(0) - FIRST_CHARACTER);
}

/** @param {string} name @param {number} piece */
function pieceOf(name, piece) {
  return `${name}${PIECE_MARK}${String(piece).padStart(PIECE_DIGITS, '0')}`;
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  if (parts.length <= 1) return parts[0] ?? NOTHING;
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
