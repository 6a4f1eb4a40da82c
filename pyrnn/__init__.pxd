from pyrnn._core cimport Stream
