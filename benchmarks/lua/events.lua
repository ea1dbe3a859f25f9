-- POST /v8/artifacts/events as `turbo` sends it, with a new session per request.
-- Arguments: seed, number of events per request.

local ffi = require("ffi")
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local common = dofile(here .. "common.lua")

local PLACEHOLDER = "00000000-0000-4000-8000-000000000000"
local UUID_LENGTH = 36
local TEMPLATES = 8

-- Offsets of the 32 random digits in a UUID; the version and variant digits do not change.
local DIGIT_AT = {}
for i = 1, UUID_LENGTH do
  if PLACEHOLDER:sub(i, i) == "0" then DIGIT_AT[#DIGIT_AT + 1] = i - 1 end
end

local templates, sequence, turn = {}, nil, 0
local session = ffi.new("char[36]", PLACEHOLDER)
local scratch = ffi.new("char[32]")

local function item(source, event, hash, duration)
  return string.format(
    '{"sessionId":"%s","source":"%s","event":"%s","hash":"%s","duration":%d}',
    PLACEHOLDER, source, event, hash, duration)
end

-- Of ten tasks, four are local hits, four are remote hits and two are misses.
local function body(count, number)
  local items, task = {}, 0
  while #items < count do
    local draw = common.mix(0x5EEDULL + number * 100000 + task)
    local hash, outcome = common.hex(draw), task % 10
    local duration = 5 + tonumber(draw % 60000ULL)
    if outcome < 4 then
      items[#items + 1] = item("LOCAL", "HIT", hash, duration)
    else
      items[#items + 1] = item("LOCAL", "MISS", hash, 0)
      if #items < count then
        local hit = outcome < 8
        items[#items + 1] = item("REMOTE", hit and "HIT" or "MISS", hash, hit and duration or 0)
      end
    end
    task = task + 1
  end
  return "[" .. table.concat(items, ",") .. "]"
end

function init(args)
  local seed, count = tonumber(args[1]), tonumber(args[2])
  sequence = common.sequence_start(seed, thread_id)
  for number = 1, TEMPLATES do
    local text = wrk.format("POST", nil, { ["Content-Type"] = "application/json",
      ["Authorization"] = wrk.headers["Authorization"], ["Host"] = wrk.headers["Host"],
      ["Accept"] = "*/*" }, body(count, number))
    local buffer, length = common.buffer(text)
    local places, from = {}, 1
    while true do
      local at = text:find(PLACEHOLDER, from, true)
      if at == nil then break end
      places[#places + 1] = at - 1
      from = at + UUID_LENGTH
    end
    templates[number] = { buffer = buffer, length = length, places = places }
  end
end

function request()
  sequence = sequence + 1
  common.write_hex(scratch, 0, common.mix(sequence))
  common.write_hex(scratch, 16, common.mix(-sequence))
  for i = 1, #DIGIT_AT do session[DIGIT_AT[i]] = scratch[i - 1] end
  turn = turn % TEMPLATES + 1
  local template = templates[turn]
  local buffer, places = template.buffer, template.places
  for i = 1, #places do ffi.copy(buffer + places[i], session, UUID_LENGTH) end
  return ffi.string(buffer, template.length)
end
