-- Common to the load scripts: unique identifiers, cheap request building, and the result line.
--
-- A request is built once in a C buffer. Before each send only its identifier is overwritten, so
-- that wrk spends its time on sockets and not on building strings.

local bit = require("bit")
local ffi = require("ffi")

local common = {}

local threads = 0

-- wrk calls `setup` once for each thread, before that thread's `init`.
function setup(thread)
  thread:set("thread_id", threads)
  threads = threads + 1
end

-- splitmix64: a bijection, so different inputs give different identifiers.
function common.mix(z)
  z = z + 0x9E3779B97F4A7C15ULL
  z = bit.bxor(z, bit.rshift(z, 30)) * 0xBF58476D1CE4E5B9ULL
  z = bit.bxor(z, bit.rshift(z, 27)) * 0x94D049BB133111EBULL
  return bit.bxor(z, bit.rshift(z, 31))
end

-- The first number of a thread's sequence: 24 bits of seed, 4 of thread, 36 for its requests.
function common.sequence_start(seed, thread)
  return ffi.cast("uint64_t", seed) * 0x10000000000ULL + thread * 0x1000000000ULL
end

local digits = ffi.new("const char[16]", "0123456789abcdef")

-- Write `value` as 16 hex digits at `buffer[offset]`.
function common.write_hex(buffer, offset, value)
  for i = 15, 0, -1 do
    buffer[offset + i] = digits[tonumber(bit.band(value, 15ULL))]
    value = bit.rshift(value, 4)
  end
end

-- Return 16 hex digits as a string.
function common.hex(value)
  local buffer = ffi.new("char[16]")
  common.write_hex(buffer, 0, value)
  return ffi.string(buffer, 16)
end

-- Copy a request to a C buffer; return it and its length.
function common.buffer(request)
  local buffer = ffi.new("char[?]", #request)
  ffi.copy(buffer, request, #request)
  return buffer, #request
end

-- Print the result as one line, which benchmarks/wrk.py parses.
function done(summary, latency)
  io.write(string.format(
    'RESULT {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, '
      .. '"max_us": %d, "status_errors": %d, "socket_errors": %d}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50),
    latency:percentile(99), latency.max, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.timeout))
end

return common
