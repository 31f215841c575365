#!/bin/sh
echo "${VAR}"	$(cmd)
