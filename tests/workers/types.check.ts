// The messages as the wire's documentation writes them, and what a client may do with the answers: it must type-check.

import type { AckMessage, ClientMessage, DoLakeConfig, NackMessage, ServerMessage } from '@dotdo/dolake';
import { DEFAULT_DOLAKE_CONFIG, type DoLake } from '@dotdo/dolake';

/** As `wrangler types` writes it. */
export interface Bindings {
  DOLAKE: DurableObjectNamespace<DoLake>;
}

export const connect: ClientMessage = {
  type: 'connect',
  timestamp: Date.now(),
  sourceDoId: 'dosql-shard-1',
  sourceShardName: 'users-shard-1',
  lastAckSequence: 0,
  protocolVersion: 1,
  capabilities: { binaryProtocol: false, compression: false, batching: true, maxBatchSize: 1000, maxMessageSize: 4194304 },
};

export const batch: ClientMessage = {
  type: 'cdc_batch',
  timestamp: Date.now(),
  sourceDoId: 'dosql-shard-1',
  events: [
    {
      sequence: 1,
      timestamp: Date.now(),
      operation: 'INSERT',
      table: 'users',
      rowId: 'user-123',
      after: { id: 'user-123', name: 'Alice', email: 'alice@example.com' },
    },
  ],
  sequenceNumber: 1,
  firstEventSequence: 1,
  lastEventSequence: 1,
  sizeBytes: 256,
  isRetry: false,
  retryCount: 0,
};

// @ts-expect-error an operation that does not exist
batch.events[0].operation = 'UPSERT';

export function answered(message: ServerMessage): number | undefined {
  switch (message.type) {
    case 'ack':
      return delay(message);
    case 'nack':
      return refused(message);
    case 'status':
      return message.buffer.utilization;
    case 'pong':
      return message.serverTime - message.timestamp;
    case 'flush_response':
      return message.result.eventsFlushed;
  }
}

const delay = (ack: AckMessage): number | undefined => ack.details?.suggestedDelayMs;
const refused = (nack: NackMessage): number | undefined => (nack.shouldRetry ? nack.retryDelayMs : undefined);

export const settings: DoLakeConfig = { ...DEFAULT_DOLAKE_CONFIG, parquetCompression: 'zstd' };
