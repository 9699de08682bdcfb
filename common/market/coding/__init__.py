"""Values as bytes and text.

codec            packed forms: little-endian, fixed width
packed           the same as numpy sees them
blocks           one day's minutes as one compressed run of bytes; `named`: with their scale; `planes`: bytes by weight;
                 `candle_blocks`, `footprint_blocks`: the two kinds
opened           blocks of candles without their compression, to make bars of; `limbs`: what their columns are read by
candle_columns   many candles as columns
int128           arithmetic on columns of 128 bits
bar_json         the JSON of a candle
"""
